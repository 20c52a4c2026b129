// Run inside the page by test_page_seen.py; each answers what a reader would stumble over.

// Text against what lies behind it: WCAG 2.2, 1.4.3 (3 for large text, else 4.5).
function findContrast() {
  const parse = text => {
    const found = text.match(/[\d.]+/g).map(Number);
    return found.length > 3 ? found : [...found, 1];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const luminance = color => {
    const [r, g, b] = color.map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement)
      layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((color, layer) => over(layer, color), [255, 255, 255]);
  };
  document.querySelectorAll('details').forEach(each => each.open = true);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const bad = []; let count = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('svg')) continue;
    const style = getComputedStyle(element), back = behind(element);
    const front = over(parse(style.color), back);
    const [a, b] = [luminance(front), luminance(back)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), isBold = parseInt(style.fontWeight) >= 700;
    const wanted = size >= 24 || (isBold && size >= 18.66) ? 3 : 4.5;
    count += 1;
    if ((a + 0.05) / (b + 0.05) < wanted)
      bad.push(`${element.tagName}.${element.className} ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return {count, bad: [...new Set(bad)]};
}

// What has no name, no head, no order, or no way in by keyboard.
function findStructure() {
  document.querySelectorAll('details').forEach(each => each.open = true);
  const found = [];
  const say = (what, elements) => elements.forEach(e => found.push(`${what}: ${e.outerHTML.slice(0, 80)}`));
  const all = selector => [...document.querySelectorAll(selector)];
  if (!document.documentElement.lang) found.push('no language');
  if (!document.title) found.push('no title');
  if (all('h1').length !== 1) found.push('not one h1');
  for (const name of ['main', 'header', 'footer'])
    if (all(name).length !== 1) found.push(`not one ${name}`);
  let level = 1;
  for (const head of all('h1, h2, h3, h4')) {
    const own = Number(head.tagName[1]);
    if (own > level + 1) say('a level is skipped', [head]);
    level = own;
  }
  say('empty heading', all('h1, h2, h3').filter(e => !e.innerText.trim()));
  say('picture without a name', all('svg').filter(
    e => e.getAttribute('aria-hidden') !== 'true' && !(e.getAttribute('role') === 'img' && e.getAttribute('aria-label'))));
  say('table without heads', all('table').filter(e => !e.querySelector('th[scope]')));
  say('details without a summary', all('details').filter(e => e.firstElementChild.tagName !== 'SUMMARY'));
  say('list with something else in it', all('ul').filter(e => [...e.children].some(c => c.tagName !== 'LI')));
  const ids = all('[id]').map(e => e.id);
  if (new Set(ids).size !== ids.length) found.push('an id twice');
  say('scrolls, but not by keyboard', all('body *').filter(e => {
    const style = getComputedStyle(e);
    const scrolls = (e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(style.overflowX)) ||
      (e.scrollHeight > e.clientHeight + 1 && ['auto', 'scroll'].includes(style.overflowY));
    return scrolls && e.tabIndex < 0;
  }));
  return found;
}
