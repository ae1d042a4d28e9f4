// Draws text as a QR code: alphanumeric mode, black on white, with the quiet zone inside the picture.

import qrcode from "./vendor/qrcode.mjs";

const QUIET = 4; // modules; a reader needs them, so they are part of the picture and not of the page's margins
const SVG = "http://www.w3.org/2000/svg";

/** Makes the SVG element show the text. Level M and the smallest version: 10-M for a phone's code. */
export function drawCode(svg, text) {
  const code = qrcode(0, "M");
  code.addData(text, "Alphanumeric");
  code.make();
  const size = code.getModuleCount();
  const side = size + 2 * QUIET;
  svg.setAttribute("viewBox", `0 0 ${side} ${side}`);
  svg.dataset.modules = size;
  svg.replaceChildren(shape("rect", { width: side, height: side, fill: "#fff" }), shape("path", { d: runs(code, size), fill: "#000" }));
}

/** One path of horizontal runs: hairlines between neighbours cannot appear. */
function runs(code, size) {
  let path = "";
  for (let row = 0; row < size; row += 1) {
    for (let column = 0; column < size; column += 1) {
      if (!code.isDark(row, column)) continue;
      const start = column;
      while (column + 1 < size && code.isDark(row, column + 1)) column += 1;
      path += `M${start + QUIET} ${row + QUIET}h${column + 1 - start}v1H${start + QUIET}z`;
    }
  }
  return path;
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
