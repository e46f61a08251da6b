import { launch, open, serve } from "./browser/support.mjs";
const GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const browser = await launch(GPU);
const server = await serve({ isolated: true });
const page = await open(browser, server.url, { viewport: { width: 1440, height: 1000 } });
page.on("console", m => console.log("console", m.type(), m.text().slice(0,300)));
page.on("pageerror", e => console.log("pageerror", e.message));
const t0=Date.now(); const say=(...a)=>console.log(((Date.now()-t0)/1000).toFixed(1),...a);
const text = (s) => page.locator(s).innerText();
await page.waitForFunction(()=>document.querySelector("#backend"),null,{timeout:60000});
say(await text("#gpu-about"), "|", await text("#status"), "|", await text("#images-per-second"));
await page.selectOption("#backend","gpu");
for (let i=0;i<20;i++){ await page.waitForTimeout(2000); say(await text("#backend-note"),"|",await text("#step-count"),await text("#images-per-second"),await text("#test-accuracy"),"|",await text("#status")); if ((await text("#alert")).trim()) say("ALERT",await text("#alert"));}
await page.screenshot({path:"/work/scratch/gpu1.png", fullPage:true});
await page.locator("#train").click(); await page.waitForTimeout(3000); say("paused", await text("#status"), await text("#step-count"));
await page.locator("#train").click(); await page.waitForTimeout(4000); say(await text("#step-count"));
await page.selectOption("#backend","processor"); await page.waitForTimeout(4000); say(await text("#backend-note"),await text("#step-count"), await text("#status"), await text("#test-accuracy"));
await browser.close(); await server.close();
