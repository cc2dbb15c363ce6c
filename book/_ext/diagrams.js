// Draws the page's Mermaid diagrams. One drawing serves light and dark: in dark mode course.css inverts it.
window.diagramsDrawn = (async () => {
  await new Promise((ready) => document.addEventListener("DOMContentLoaded", ready));
  mermaid.initialize({ startOnLoad: false, theme: "neutral", fontFamily: getComputedStyle(document.body).fontFamily });
  for (const [number, place] of document.querySelectorAll("pre.mermaid").entries()) {
    try {
      place.innerHTML = (await mermaid.render(`diagram-${number}`, place.textContent)).svg;
      const drawing = place.firstElementChild; // its own width stands in max-width
      drawing.style.minWidth = `min(${drawing.style.maxWidth || "0px"}, 36rem)`; // on a phone: scroll, stay readable
    } catch (error) {
      console.error(error); // the diagram's text stays readable
    }
  }
})();
