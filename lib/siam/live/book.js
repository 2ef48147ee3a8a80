// In the book the parts are scripts beside this one, which call siamLive.part: a page opened as a file
// can load nothing else.

const siamLive = (() => {
  const [script, folder] = [document.currentScript, new URL(".", document.currentScript.src)];
  const parts = new Map(); // name -> {promise, resolve}

  function load(name) {
    if (!parts.has(name)) {
      const part = {};
      part.promise = new Promise((resolve, reject) => {
        part.resolve = resolve;
        const element = document.createElement("script");
        element.onerror = () => {
          parts.delete(name); // whoever asks again tries again
          element.remove();
          reject(new Error(`${name}.js could not be loaded`));
        };
        element.onload = () => part.came || element.onerror(); // something came, but not the part: a page of a network's login
        element.src = new URL(`${name}.js`, folder);
        document.head.append(element);
      });
      parts.set(name, part);
    }
    return parts.get(name).promise;
  }

  return {
    part(name, text) {
      const packed = atob(text);
      const bytes = new Uint8Array(packed.length);
      for (let i = 0; i < bytes.length; i++) bytes[i] = packed.charCodeAt(i);
      const part = parts.get(name);
      part.came = true;
      part.resolve(inflated(bytes));
    },
    // Put the page where the static one stands, in front of the script.
    start(worker, css) {
      const el = script.previousElementSibling;
      const about = JSON.parse(el.querySelector("script").textContent);
      document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
      const names = ["engine", "coarse", "fine", "shown", "images"];
      const byName = Object.fromEntries(names.map((name) => [name, () => load(name)]));
      startLive(el, { about, worker, parts: byName, linked: true, instead: el.querySelector(".live-static") });
    },
  };
})();
