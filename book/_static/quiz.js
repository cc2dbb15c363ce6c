// Quizzes: a button that checks the chosen answer and says why it is right or wrong. What was wrong may be tried again.
document.addEventListener("DOMContentLoaded", () => {
  for (const quiz of document.querySelectorAll("fieldset.quiz")) {
    const result = document.createElement("div");
    result.className = "quiz-result";
    result.setAttribute("aria-live", "polite");
    const check = document.createElement("button");
    check.type = "button";
    check.className = "course-button";
    check.textContent = "Check";
    check.addEventListener("click", () => {
      const chosen = quiz.querySelector("input:checked");
      if (!chosen) {
        result.textContent = "Choose an answer first.";
        return;
      }
      quiz.dataset.state = "right" in chosen.dataset ? "right" : "wrong"; // right: the other answers' folds appear
      const why = chosen.closest(".quiz-answer").querySelector(".quiz-why");
      result.replaceChildren(...[...why.childNodes].map((node) => node.cloneNode(true)));
    });
    quiz.addEventListener("change", () => {
      delete quiz.dataset.state;
      result.replaceChildren();
    });
    quiz.classList.add("live");
    quiz.append(check, result);
  }
});
