// Chromium, driven by playwright: browse.js URL USER [CODE] [--elsewhere]
//
// Opens the page, types the code of a device if there is one, and signs in as USER. Tells the address
// and the text at the end, as JSON. Elsewhere is another machine, on which nothing listens for it.
const words = process.argv.slice(2);
const elsewhere = words.includes("--elsewhere");
const [url, user, code] = words.filter((word) => !word.startsWith("--"));
const { chromium } = require("playwright-core");

async function main() {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    // Nothing outside is looked for.
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
      // Only https gets through then, and at port 1 nobody listens. (A page.route sees no redirection.)
      ...(elsewhere ? ["--proxy-server=http=127.0.0.1:1", "--proxy-bypass-list=<-loopback>"] : [])],
  });
  try {
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    page.setDefaultTimeout(20000);
    let last = url;
    page.on("request", (request) => { if (request.isNavigationRequest()) last = request.url(); });
    await page.goto(url);
    if (code) {
      await page.fill("[name=user_code]", code);
      await page.press("[name=user_code]", "Enter");
      await page.click("[type=submit]:not([name=abort])");
    }
    await page.fill("[name=login]", user);
    const left = (address) => !address.pathname.startsWith("/interaction/");
    await Promise.all([
      elsewhere ? page.waitForEvent("requestfailed", (request) => request.isNavigationRequest()) : page.waitForURL(left),
      page.click("[name=go]"),
    ]);
    const text = elsewhere ? "" : await page.innerText("body");
    console.log(JSON.stringify({ url: last, text }));
  } finally {
    await browser.close();
  }
}

main().catch((error) => { console.error(error.message); process.exit(1); });
