// Drives Firefox over WebDriver BiDi with nothing but Node.js: opens the live page at an address, attacks an image, moves
// a slider, takes the link, and prints what was seen as one line of JSON. node firefox.mjs FIREFOX ADDRESS

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [executable, address] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "firefox-"));
const firefox = spawn(executable, ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"], {
  env: { ...process.env, HOME: profile },
});

async function listening() {
  let said = "";
  for await (const chunk of firefox.stderr) {
    said += chunk;
    const found = /WebDriver BiDi listening on (ws:\S+)/.exec(said);
    if (found) return found[1];
  }
  throw new Error(`Firefox ended: ${said.slice(-300)}`);
}

async function main() {
  const socket = new WebSocket(`${await listening()}/session`);
  await new Promise((resolve, reject) =>
    Object.assign(socket, { onopen: resolve, onerror: () => reject(new Error("no connection")) }),
  );
  const waiting = new Map();
  const [said, asked] = [[], []];
  let id = 0;
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.method === "log.entryAdded") said.push(`${message.params.level}: ${message.params.text}`);
    if (message.method === "network.beforeRequestSent") asked.push(message.params.request.url);
    waiting.get(message.id)?.(message);
  };
  const send = (method, params) =>
    new Promise((resolve, reject) => {
      waiting.set(++id, (answer) =>
        answer.error ? reject(new Error(`${method}: ${answer.message}`)) : resolve(answer.result),
      );
      socket.send(JSON.stringify({ id, method, params }));
    });

  await send("session.new", { capabilities: {} });
  await send("session.subscribe", { events: ["log.entryAdded", "network.beforeRequestSent"] });
  const {
    contexts: [{ context }],
  } = await send("browsingContext.getTree", {});
  const run = async (text) => {
    const { result, exceptionDetails } = await send("script.evaluate", {
      expression: `(async () => JSON.stringify(await (${text})))()`,
      target: { context },
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return JSON.parse(result.value ?? "null");
  };
  const open = (url) => send("browsingContext.navigate", { context, url, wait: "complete" });
  const settled = (part = "") =>
    run(`(async () => {
    const root = document.querySelector("[data-testid=siam-live]");
    for (let i = 0; i < 3000; i++) {
      if (root.dataset.exact === "true" && root.dataset.settled?.includes("${part}")) {
        return [document.querySelector("[data-testid=live-verdict]").textContent,
          [...document.querySelectorAll(".live-count")].map((cell) => Number(cell.textContent))];
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error("it never settled");
  })()`);

  await open(address);
  const result = { browser: await run("navigator.userAgent"), opened: await settled() };
  for (const [name, value] of [["original", 0], ["attacked", 1]]) {
    await run(`[...document.querySelectorAll("[type=radio]")].find(({ value }) => value === "${Boolean(value)}").click()`);
    result[name] = await settled(`attacked=${value}`);
  }
  await run(`(() => {
    const slider = document.querySelector("[aria-label=M]");
    slider.value = 3;
    for (const event of ["input", "change"]) slider.dispatchEvent(new Event(event));
  })()`);
  result.eight = await settled("draws=8&");
  await run(
    `[...document.querySelectorAll("button")].find(({ textContent }) => textContent.startsWith("Link")).click()`,
  );
  const link = await run("location.href");
  await open("about:blank");
  await open(link);
  result.linked = await settled("draws=8&");
  result.width = await run("[document.documentElement.scrollWidth, innerWidth]");
  return { ...result, said, asked };
}

let code = 0;
try {
  console.log(JSON.stringify(await main()));
} catch (error) {
  console.error(String(error));
  code = 1;
}
firefox.kill();
await new Promise((resolve) => firefox.once("exit", resolve));
rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
process.exit(code);
