import { launch, open, serve } from "./browser/support.mjs";
const GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const browser = await launch(GPU);
const server = await serve({ isolated: true });
const page = await open(browser, server.url+"#paused", { viewport: { width: 1440, height: 1000 } });
page.on("console", m => console.log("console", m.type(), m.text().slice(0,300)));
page.on("pageerror", e => console.log("pageerror", e.message));
const t0=Date.now(); const say=(...a)=>console.log(((Date.now()-t0)/1000).toFixed(1),...a);
const text = (s) => page.locator(s).innerText();
await page.waitForFunction(()=>document.querySelector("#backend"),null,{timeout:60000});
say(await text("#gpu-about"));
await page.fill("#hidden","64"); await page.keyboard.press("Enter");
await page.locator("#train").click();
await page.selectOption("#backend","gpu");
for (let i=0;i<8;i++){ await page.waitForTimeout(2000); say(await text("#backend-note"),"|",await text("#step-count"),await text("#images-per-second"),await text("#test-accuracy"),"|",await text("#status"));}
const crash = await page.context().newPage();
say("crash"); crash.goto("chrome://gpucrash").catch(e=>say("goto", e.message.slice(0,80)));
for (let i=0;i<5;i++){ await page.waitForTimeout(1500); say(await text("#backend-note"),"|",await text("#step-count"),await text("#images-per-second"),"|",await text("#status")," ALERT ",await text("#alert"));}
await crash.close().catch(()=>{});
await page.locator("#compare").click();
for (let i=0;i<100;i++){ await page.waitForTimeout(3000); const t=await text("#gpu"); if (i%5==0||!t.includes("Cancel")) say(t.slice(-300).replaceAll("\n"," ")); if (!t.includes("Cancel")) break; }
await page.screenshot({path:"/work/scratch/gpu2.png", fullPage:true});
say(await text("#alert"));
await page.locator("#gpu details summary").click(); say(await text("#gpu"));
await page.setViewportSize({width:390,height:844}); await page.waitForTimeout(500);
await page.locator("#gpu").screenshot({path:"/work/scratch/gpu3.png"});
await browser.close(); await server.close();
