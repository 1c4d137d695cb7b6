// Another type brings its own sample, unless somebody has changed the one that stands there.
const type = document.getElementById("id_event_type");
const metadata = document.getElementById("id_metadata");
const samples = JSON.parse(document.getElementById("samples").textContent);
const written = (sample) => JSON.stringify(sample, null, 2);

type.addEventListener("change", () => {
  const text = metadata.value.trim().replaceAll("\r\n", "\n");
  if (!text || Object.values(samples).some((sample) => written(sample) === text)) {
    metadata.value = written(samples[type.value]);
  }
});
