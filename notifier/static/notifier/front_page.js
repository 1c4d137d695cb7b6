// Renews the live part, while somebody can see it. Without JavaScript the page stands as it was loaded.
const live = document.getElementById("live");
const every = live.dataset.every * 1000;
let asking = false;

async function renew() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    // whose session has ended is led to the login: that is no figure
    const answer = await fetch(live.dataset.address, { redirect: "error", signal: AbortSignal.timeout(every * 2) });
    if (!answer.ok) throw new Error(answer.status);
    const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
    live.innerHTML = await answer.text();
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  } catch {
    live.querySelector(".live-late").hidden = false;
  } finally {
    asking = false;
  }
}

setInterval(renew, every);
document.addEventListener("visibilitychange", renew);
