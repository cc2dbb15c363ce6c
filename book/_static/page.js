// Names of the theme's own buttons, as a screen reader reads them.
document.addEventListener("DOMContentLoaded", () => {
  for (const key of document.querySelectorAll(".search-button-field .search-button__kbd-shortcut")) key.ariaHidden = "true";
  for (const icon of document.querySelectorAll(".theme-switch-button > *")) icon.ariaHidden = "true";
});
