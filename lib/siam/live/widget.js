// In JupyterLab the parts are traits of the widget: siam.live.Live.

function render({ model, el }) {
  const bytes = (name) => {
    const view = model.get(name);
    return inflated(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  };
  const names = ["engine", "coarse", "fine", "shown", "images"];
  const parts = Object.fromEntries(names.map((name) => [name, () => bytes(name)]));
  return startLive(el, { about: model.get("about"), worker: model.get("worker"), parts, linked: false });
}

export default { render };
