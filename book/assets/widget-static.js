// Draws the anywidgets of a static page: no kernel, no server, no other script.
// The page holds each widget's traits, its module among them, in the JSON that Jupyter embeds; this imports
// the module from memory and gives it a model that lives in the page alone.
(() => {
  const mime = (kind) => `script[type="application/vnd.jupyter.widget-${kind}+json"]`;
  const read = (node) => [node, JSON.parse(node.textContent)];
  const json = (kind) => Array.from(document.querySelectorAll(mime(kind)), read);

  const modules = new Map();
  function load(source) {
    if (!modules.has(source)) {
      modules.set(source, import(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))));
    }
    return modules.get(source);
  }

  function pageModel(traits) {
    const listeners = new Map();
    const on = (event, f) => listeners.set(event, [...(listeners.get(event) ?? []), f]);
    const off = (event, f) => listeners.set(event, (listeners.get(event) ?? []).filter((g) => f && g !== f));
    const emit = (event) => (listeners.get(event) ?? []).forEach((f) => f());
    return {
      linked: true, // the page's address may carry a widget's state
      get: (name) => traits[name],
      set(name, value) {
        if (traits[name] === value) return;
        traits[name] = value;
        emit(`change:${name}`);
        emit("change");
      },
      save_changes() {},
      send() {},
      on,
      off,
    };
  }

  async function draw(view, traits) {
    const el = document.createElement("div");
    view.after(el);
    try {
      if (traits._css) el.appendChild(document.createElement("style")).textContent = traits._css;
      const { default: exported } = await load(traits._esm);
      const widget = typeof exported === "function" ? await exported() : exported;
      const model = pageModel(traits);
      await widget.initialize?.({ model });
      await widget.render?.({ model, el: el.appendChild(document.createElement("div")) });
    } catch (error) {
      el.textContent = `This figure could not be drawn: ${error.message}`;
      const still = el.nextElementSibling; // for where no script runs (siam.accessible)
      if (still?.matches("noscript")) el.insertAdjacentHTML("beforeend", still.textContent);
      console.error(error);
    }
  }

  function start() {
    const states = Object.assign({}, ...json("state").map(([, { state }]) => state));
    for (const [view, { model_id }] of json("view")) {
      const traits = states[model_id]?.state;
      if (traits?._esm) draw(view, traits);
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
