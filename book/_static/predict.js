// Predict prompts: lettered answers become choices, which the browser remembers and which stand beside the result.
// Without this script the prompts are plain text: "(a) one answer · (b) another".
document.addEventListener("DOMContentLoaded", () => {
  const memory = new Map(); // where a browser denies its storage
  const store = {
    get: (key) => { try { return localStorage.getItem(key); } catch { return memory.get(key) ?? null; } },
    set: (key, value) => { try { localStorage.setItem(key, value); } catch { memory.set(key, value); } },
  };
  const LETTER = /(?<=^|\s)(?:\(([a-h])\)|(?<=^\s*|\n\s*)([A-H])[.)])(?=\s)/;
  const SEPARATOR = /\s*(?:[·;,]|[·;,]?\s+or)?\s*$/;

  // A paragraph or list that follows a heading "Predict", stands in a box "Predict", or begins with a bold "Predict.".
  function isPrompt(block) {
    const box = block.closest(".admonition");
    const titles = [box?.querySelector(".admonition-title"), block.querySelector(":scope > strong:first-child")];
    if (block.parentElement.matches("section")) titles.push(block.parentElement.querySelector("h2, h3, h4"));
    return titles.some((title) => title && /^\s*Predict\b/.test(title.textContent));
  }

  // Parts of a block: {letter, nodes}; letter is "" for text that belongs to no answer.
  function partsOf(block) {
    const parts = [{ letter: "", nodes: [] }];
    const isList = block.matches("ul, ol");
    const items = isList ? [...block.children].flatMap((item) => [new Text("\n"), ...item.childNodes]) : [...block.childNodes];
    for (const node of items.flatMap((item) => (item.nodeName === "P" ? [...item.childNodes] : [item]))) {
      let rest = node.nodeType === Node.TEXT_NODE ? node.data : null;
      for (let found; rest !== null && (found = LETTER.exec(rest)); ) {
        parts.at(-1).nodes.push(new Text(rest.slice(0, found.index)));
        parts.push({ letter: (found[1] ?? found[2]).toLowerCase(), nodes: [] });
        rest = rest.slice(found.index + found[0].length);
      }
      parts.at(-1).nodes.push(rest === null ? node : new Text(rest));
    }
    return parts;
  }

  // "(c) more than five; and the other will (d) lose or (e) win" are two questions: what follows the ";" asks the second.
  function groupsOf(parts) {
    const groups = [{ ask: parts[0].nodes, answers: [] }];
    for (const [number, part] of parts.slice(1).entries()) {
      groups.at(-1).answers.push(part);
      const cut = part.nodes.findIndex((node) => node.nodeType === Node.TEXT_NODE && /;\s/.test(node.data));
      const isLast = number === parts.length - 2;
      if (cut >= 0 && !isLast && !/([·;]\s*|\n\s*)$/.test(part.nodes.at(-1).data ?? "")) {
        const [before, ...after] = part.nodes[cut].data.split(/(?<=;)\s/);
        groups.push({ ask: [new Text(after.join(" ")), ...part.nodes.slice(cut + 1)], answers: [] });
        part.nodes = [...part.nodes.slice(0, cut), new Text(before)];
      }
      const last = part.nodes.at(-1);
      if (!isLast && last.nodeType === Node.TEXT_NODE) last.data = last.data.replace(SEPARATOR, "");
    }
    return groups;
  }

  function made(tag, className, ...content) {
    const element = document.createElement(tag);
    element.className = className;
    element.append(...content);
    return element;
  }

  const page = location.pathname.split("/").slice(-2).join("/");
  const isResult = (fold) => /^\s*What happened/.test(fold.firstElementChild.textContent);
  const folds = [...document.querySelectorAll("details")].filter(isResult);
  const prompts = [];
  for (const block of document.querySelectorAll(".bd-article p, .bd-article ul, .bd-article ol")) {
    if (!block.isConnected || block.closest("details, fieldset") || !isPrompt(block)) continue;
    const parts = partsOf(block);
    const letters = parts.slice(1).map((part) => part.letter).join("");
    if (letters.length < 2 || !"abcdefgh".startsWith(letters)) continue;
    const number = prompts.length;
    const groups = groupsOf(parts).map(({ ask, answers }, part) => {
      const name = `${page}#predict-${number}-${part}`;
      const set = made("fieldset", "predict", made("legend", "", part ? made("span", "", ...ask) : "Your prediction"));
      for (const { letter, nodes } of answers) {
        const choice = made("input", "");
        Object.assign(choice, { type: "radio", name, value: letter, checked: store.get(name) === letter });
        set.append(made("label", "", choice, made("span", "", made("b", "", `(${letter})`), ...nodes)));
      }
      set.addEventListener("change", (event) => store.set(name, event.target.value));
      return set;
    });
    const ask = made("p", "", ...parts[0].nodes);
    block.replaceWith(...(ask.textContent.trim() ? [ask] : []), ...groups);
    prompts.push(groups);
  }

  // Beside each result: what the reader chose in the last prompt above it.
  for (const fold of folds) {
    const prompt = prompts.filter(([set]) => follows(set, fold)).at(-1);
    if (!prompt || folds.some((other) => follows(prompt[0], other) && follows(other, fold))) continue; // another's result
    const recall = made("p", "predict-recall");
    const show = () => {
      const chosen = prompt.flatMap((set) => [...set.querySelectorAll("input:checked + span")]);
      const answers = chosen.flatMap((answer) => [" ", ...answer.cloneNode(true).childNodes, "."]);
      recall.replaceChildren(...(answers.length ? ["You predicted:", ...answers] : ["You have not chosen an answer yet."]));
    };
    fold.firstElementChild.after(recall);
    for (const set of prompt) set.addEventListener("change", show);
    show();
  }

  function follows(first, second) {
    return first.compareDocumentPosition(second) & Node.DOCUMENT_POSITION_FOLLOWING;
  }
});
