// Names of the theme's own buttons: what a screen reader says is what stands there. Icons become drawings before "load".
addEventListener("load", () => {
  for (const key of document.querySelectorAll(".search-button__kbd-shortcut")) key.ariaHidden = "true";
  for (const title of document.querySelectorAll(".theme-switch-button title")) title.remove();
});
