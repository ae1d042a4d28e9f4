// Keeps the page for a phone without a line: what the network gives is kept, what it does not give comes from there.
// Only the page's own files; what the API says is never kept here.

const CACHE = "doorstep-member-1";
const PATIENCE_MS = 2500;

self.addEventListener("install", (event) => {
  const files = ["/me", "/member/style.css", "/member/app.js", "/member/pass.js", "/member/cloud.js", "/member/face.js", "/member/keep.js", "/member/qr.js", "/member/texts.js", "/member/token.js", "/member/vendor/qrcode.mjs", "/member/icon.svg"];
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(files)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  const isPage = pathname === "/me" || pathname.startsWith("/member/");
  if (event.request.method === "GET" && origin === self.location.origin && isPage) event.respondWith(fresh(event.request, pathname));
});

async function fresh(request, pathname) {
  const cache = await caches.open(CACHE);
  try {
    const answer = await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.ok) await cache.put(pathname, answer.clone());
    return answer;
  } catch (error) {
    const kept = await cache.match(pathname);
    if (kept) return kept;
    throw error;
  }
}
