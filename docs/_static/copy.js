// A button on each block of code that copies what one would type: without prompts, and without what was printed.
"use strict";

/** The text of a block to paste: of a session, its lines after a prompt alone. */
function typed(text) {
  const lines = text.replace(/\n$/, "").split("\n");
  const prompt = /^(\$ |>>> |\.\.\. |>>>$|\.\.\.$)/;
  const session = lines.filter((line) => prompt.test(line));
  return (session.length ? session.map((line) => line.replace(prompt, "")) : lines).join("\n");
}

for (const pre of document.querySelectorAll("div.highlight > pre")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy-code";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy this code");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typed(pre.textContent));
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  pre.parentElement.append(button);
}
