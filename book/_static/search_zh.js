/* A question in Chinese has no spaces: it is cut into the longest words of the index. */
if (document.documentElement.lang.startsWith("zh")) {
  const HAN = /([\u3400-\u9fff]+)/;
  const words = () => {
    const index = window.Search?._index ?? (typeof Search === "undefined" ? null : Search._index);
    return index ? { ...index.terms, ...index.titleterms } : {};
  };
  const cut = (text) => {
    const known = words();
    const found = [];
    for (let at = 0; at < text.length; ) {
      let length = Math.min(8, text.length - at);
      while (length > 1 && !Object.hasOwn(known, text.slice(at, at + length))) length -= 1;
      found.push(text.slice(at, at + length));
      at += length;
    }
    return found.filter((word) => word.length > 1 || found.length === 1);
  };
  window.splitQuery = (query) =>
    query
      .split(/[^\p{Letter}\p{Number}_\p{Emoji_Presentation}]+/gu)
      .flatMap((part) => part.split(HAN))
      .filter(Boolean)
      .flatMap((part) => (HAN.test(part) ? cut(part) : [part]));
}
