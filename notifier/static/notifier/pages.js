// With JavaScript each change is saved at once, so the button has nothing left to do.
document.documentElement.classList.add("live");

// Quiet hours are saved when both their times are there, or neither.
document.addEventListener("htmx:beforeRequest", (event) => {
  const [from, until] = ["id-quiet-from", "id-quiet-until"].map((id) => document.getElementById(id));
  const halfway = Boolean(from.value) !== Boolean(until.value);
  if (halfway && [from, until].includes(document.activeElement)) event.preventDefault();
});

function failed() {
  document.querySelector(".status").textContent = document.getElementById("preferences").dataset.failed;
}
document.addEventListener("htmx:responseError", failed);
document.addEventListener("htmx:sendError", failed);
