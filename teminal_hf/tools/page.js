// Of a file that is no sound, gradio says only a list of MIME types; say what stands beside the upload instead.
() => new MutationObserver(() => {
  for (const toast of document.querySelectorAll("[data-testid=toast-text]")) {
    const refused = toast.textContent.match(/^Invalid file type: (.*)\. Only /);
    if (refused) toast.textContent = `${refused[1]} cannot be read. ${document.querySelector("#limits").innerText}`;
  }
}).observe(document.body, {childList: true, subtree: true, characterData: true})
