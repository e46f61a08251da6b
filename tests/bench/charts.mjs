// The report of a benchmark as one SVG picture: how far each ratio is from its goal, and speeds of products by bits.

import { goalText } from "./goals.mjs";

const [LEFT, WIDTH, RIGHT] = [470, 300, 200];
const escape = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
const plural = (threads) => `${threads} thread${threads > 1 ? "s" : ""}`;
const label = (x, y, text, attributes = "") => `<text x="${x}" y="${y}" ${attributes}>${escape(text)}</text>`;

/** The goals and, below them, the products. */
export function chart(report) {
    const goals = goalsChart(report.goals);
    const products = productsChart(productSpeeds(report));
    const size = `${LEFT + WIDTH + RIGHT} ${goals.height + products.height}`;
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size}" font-family="sans-serif" font-size="13">
<style>text { fill: #333 } line { stroke: #999 } .met { fill: #2a7d4f } .missed { fill: #b5472f }
.series0 { fill: #2f7fc1 } .series1 { fill: #8a6bd1 } .series2 { fill: #c9741a }
@media (prefers-color-scheme: dark) { text { fill: #ddd } }</style>
${goals.marks}
<g transform="translate(0 ${goals.height})">
${products.marks}
</g>
</svg>
`;
}

/** How far each ratio is from its goal, in steps of two. */
function goalsChart(goals) {
    const rows = goals.map((row, index) => {
        const { what, ratio, goal, atMost, met } = row;
        const ahead = Math.log2(atMost ? goal / ratio : ratio / goal);
        const length = Math.min(Math.abs(ahead), 2) * (WIDTH / 4);
        const y = 30 + index * 26;
        const x = LEFT + WIDTH / 2 - (ahead < 0 ? length : 0);
        return [
            label(LEFT - 8, y + 15, what, 'text-anchor="end"'),
            `<rect x="${x}" y="${y + 3}" width="${Math.max(length, 1)}" height="16" class="${met ? "met" : "missed"}"/>`,
            label(LEFT + WIDTH + 8, y + 15, `${ratio} (goal: ${goalText(row)})`),
        ];
    });
    const bottom = 30 + goals.length * 26;
    const marks = [
        label(LEFT + WIDTH / 2, 18, "half the goal - the goal - twice the goal", 'text-anchor="middle"'),
        `<line x1="${LEFT + WIDTH / 2}" y1="26" x2="${LEFT + WIDTH / 2}" y2="${bottom}"/>`,
        ...rows.flat(),
    ];
    return { height: bottom + 8, marks: marks.join("\n") };
}

/** Names of what computes products 256x1024x1024, and its speeds by bits, in G multiply-accumulates a second. */
function productSpeeds({ kernels, native }) {
    const products = kernels.filter(({ name, shape }) => name.endsWith("bits") && shape === "256x1024x1024");
    const series = [...new Set(products.map(({ threads }) => threads))].map((threads) => ({
        title: `browser, ${plural(threads)}`,
        speed: (name) => products.find((row) => row.name === name && row.threads === threads).gigaMacsPerSecond,
    }));
    const rows = native?.tables.find(({ part }) => part === "products").rows;
    if (rows) {
        const cells = (name) => rows.find((row) => row.name === name).cells;
        series.push({ title: "native, 1 thread", speed: (name) => cells(name).find(({ heading }) => heading === "1 thread").median });
    }
    const names = [...new Set(products.map(({ name }) => name))];
    return { titles: series.map(({ title }) => title), rows: names.map((name) => ({ name, speeds: series.map(({ speed }) => speed(name)) })) };
}

/** A bar for each speed, from zero. */
function productsChart({ titles, rows }) {
    const longest = Math.max(...rows.flatMap(({ speeds }) => speeds));
    const height = 10 * titles.length + 8;
    const bars = rows.flatMap(({ name, speeds }, index) => {
        const y = 54 + index * height;
        const bars = speeds.map((speed, series) => {
            const length = (speed / longest) * WIDTH;
            const top = y + series * 10;
            return [
                `<rect x="${LEFT}" y="${top}" width="${length}" height="9" class="series${series}"/>`,
                label(LEFT + length + 5, top + 8, String(Number(speed.toPrecision(3))), 'font-size="10"'),
            ];
        });
        return [label(LEFT - 8, y + height / 2, name, 'text-anchor="end"'), ...bars.flat()];
    });
    const legend = titles.flatMap((title, series) => {
        const x = LEFT + series * 155;
        return [`<rect x="${x}" y="30" width="12" height="12" class="series${series}"/>`, label(x + 17, 41, title)];
    });
    const title = label(LEFT, 18, "products 256x1024x1024, G multiply-accumulates a second");
    return { height: 54 + rows.length * height, marks: [title, ...legend, ...bars].join("\n") };
}
