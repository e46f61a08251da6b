import { launch, open, serve, until, steps } from "./browser/support.mjs";
const b = await launch(); const s = await serve({ isolated: true, folder: process.argv[2] });
const p = await open(b, s.url, { viewport: { width: 320, height: 640 } });
await until(async () => (await steps(p)) > 30, "x").catch(console.log);
console.log(await p.evaluate(() => [...document.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > 321).map(e => e.tagName + "#" + e.id + "." + e.className + " " + Math.round(e.getBoundingClientRect().right)).slice(0, 30)));
await p.screenshot({ path: "/work/scratch/320.png" });
await p.setViewportSize({ width: 390, height: 844 });
await p.screenshot({ path: "/work/scratch/390.png", fullPage: true });
await b.close(); await s.close();
