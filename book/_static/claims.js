// The claims page: buttons that show only the claims of one verdict. Without this script the whole tables show.
document.addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector(".claims-filter");
  if (!place) return;
  const rows = [...document.querySelectorAll("tr.claim")];
  const verdictOf = (row) => [...row.classList].find((name) => name.startsWith("verdict-"));
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  const buttons = [];
  const show = (verdict) => {
    const chosen = rows.filter((row) => verdict === "all" || verdictOf(row) === verdict);
    rows.forEach((row) => { row.hidden = !chosen.includes(row); });
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict)));
    said.textContent = `${chosen.length} of ${rows.length} claims are shown.`;
  };
  const verdicts = ["confirmed", "corrected", "refuted", "undecided", "not-tested"].map((name) => `verdict-${name}`);
  for (const verdict of ["all", ...verdicts]) {
    const own = rows.filter((row) => verdictOf(row) === verdict);
    if (verdict !== "all" && !own.length) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.verdict = verdict;
    const word = verdict === "all" ? "all" : own[0].cells[3].textContent.trim();
    button.textContent = `${word} (${verdict === "all" ? rows.length : own.length})`;
    button.addEventListener("click", () => show(verdict));
    buttons.push(button);
    place.append(button);
  }
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", "Show claims by verdict");
  place.append(said);
  show("all");
  // A link to one claim shows all of them, so that its row is there.
  addEventListener("hashchange", () => { if (document.querySelector(`tr${location.hash}[hidden]`)) show("all"); });
});
