"""Fits the stroke model of the procedural digits to MNIST's training images.

    python fit.py MNIST_FOLDER strokes.bin

MNIST_FOLDER holds train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz. Needs numpy, scipy and
scikit-image; takes some ten minutes on one core. The test images are never read.

Each class is a mixture of writing styles. A style is a graph of pen points, found by tracing the
skeleton of one exemplar, then registered to the skeletons of the images that it fits best (a coherent
point drift with a smooth Gaussian-process prior on the displacement). The registered graphs give the
style's mean and principal directions; these, not the images, are what is written.

File layout (bytes): magic "STROKES1"; classes, u8; latents a style, u8; then for each class its number of
styles, u8; then each style: weight u8, points u8, edges u8; edges as pairs of u8 point numbers; the mean
as u8 triples (x, y, radius); and each latent's direction as i8 triples, one standard deviation long.
Units are given by MEAN_UNITS and DIRECTION_UNITS, in steps a pixel.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from skimage.morphology import skeletonize

STYLES = 12  # writing styles sought for each class
LATENTS = 8  # principal directions kept for each style
RARE_STYLES = 4  # of those, sought among the images that the common styles fit badly
CANDIDATES = 3  # styles tried for each image, by likeness of pixels
HARD = 0.15  # share of the images, the worst fitted, for which every style is tried
OUTLIERS = 0.03  # share of the images left out of the statistics
LEAST_MEMBERS = 30  # images that a style's statistics need
DATA_POINTS = 64  # skeleton points kept of each image
SPACING = 2.1  # pixels between a style's pen points
UPSAMPLING = 3
RADIUS_BIAS = 0.15  # pixels: what the thinning loses, set so that drawn digits have MNIST's ink
MEAN_UNITS = np.array([9.0, 9.0, 48.0])
DIRECTION_UNITS = np.array([24.0, 24.0, 128.0])


def read_idx(path):
    data = gzip.decompress(Path(path).read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def skeleton(image):
    """The skeleton's pixels [n, 2] (row, column, upsampled grid) and the ink's radius at each, in pixels."""
    fine = ndimage.zoom(image.astype(np.float32), UPSAMPLING, order=1, grid_mode=True, mode="nearest")
    ink = fine > 127
    pixels = np.argwhere(skeletonize(ink))
    radius = (ndimage.distance_transform_edt(ink)[tuple(pixels.T)] - 0.5) / UPSAMPLING
    return pixels, radius + RADIUS_BIAS


def to_pixels(fine):
    """Upsampled (row, column) to (x, y), with pixel centres at whole numbers."""
    return (fine[:, ::-1] + 0.5) / UPSAMPLING - 0.5


def trace(pixels, radius):
    """The skeleton as a graph: points [m, 2] (x, y), edges [e, 2]."""
    near = ((pixels[:, None] - pixels[None]) ** 2).sum(-1)
    rows, columns = np.nonzero(np.triu(near <= 2, 1))
    n = len(pixels)
    lengths = np.sqrt(near[rows, columns])
    tree = minimum_spanning_tree(coo_array((lengths, (rows, columns)), shape=(n, n)))
    along = dijkstra(tree, directed=False)
    neighbours = [set() for _ in range(n)]

    def join(a, b):
        neighbours[a].add(b)
        neighbours[b].add(a)

    for a, b in zip(*tree.nonzero()):
        join(a, b)
    # A skeleton pixel has up to eight neighbours: only edges that close a real loop come back.
    for a, b in zip(rows, columns):
        if b not in neighbours[a] and along[a, b] > 4 * UPSAMPLING:
            ring = [c for c in neighbours[a] if near[c, b] <= 2] + [c for c in neighbours[b] if near[c, a] <= 2]
            if not ring:
                join(a, b)

    def chain(start, second):
        path = [start, second]
        while len(neighbours[path[-1]]) == 2 and path[-1] != start:
            path.append(next(c for c in neighbours[path[-1]] if c != path[-2]))
        return path

    # Spurs no longer than the pen's own radius are the thinning's artefacts.
    while True:
        spurs = []
        for end in range(n):
            if len(neighbours[end]) == 1:
                path = chain(end, next(iter(neighbours[end])))
                length = np.sqrt(near[path[:-1], path[1:]]).sum()
                if len(neighbours[path[-1]]) > 2 and length < UPSAMPLING * max(1.8, 1.3 * radius[path[-1]]):
                    spurs.append((length, path))
        if not spurs:
            break
        path = min(spurs)[1]
        for a, b in zip(path[:-1], path[1:]):
            neighbours[a].discard(b)
            neighbours[b].discard(a)

    knots = [a for a in range(n) if len(neighbours[a]) not in (0, 2)]
    if not knots:
        knots = [next(a for a in range(n) if neighbours[a])]
    where = to_pixels(pixels.astype(float))
    points, edges, numbers, walked = [], [], {}, set()
    for knot in knots:
        numbers[knot] = len(points)
        points.append(where[knot])
    for knot in knots:
        for second in neighbours[knot]:
            if (knot, second) in walked:
                continue
            path = chain(knot, second)
            walked |= {(path[0], path[1]), (path[-1], path[-2])}
            line = where[path]
            line[1:-1] = (line[:-2] + line[1:-1] + line[2:]) / 3
            arc = np.r_[0, np.cumsum(np.hypot(*np.diff(line, axis=0).T))]
            steps = max(1, round(arc[-1] / SPACING))
            if path[0] == path[-1]:
                steps = max(3, steps)
            inner = np.arange(1, steps) * arc[-1] / steps
            previous = numbers[knot]
            for at in inner:
                points.append([np.interp(at, arc, line[:, 0]), np.interp(at, arc, line[:, 1])])
                edges.append((previous, len(points) - 1))
                previous = len(points) - 1
            edges.append((previous, numbers[path[-1]]))
    return np.array(points), np.array(edges)


def squared_distances(a, b):
    return np.maximum((a**2).sum(-1)[:, :, None] + (b**2).sum(-1)[:, None, :] - 2 * a @ b.transpose(0, 2, 1), 0)


def register(template, edges, data, radii, weights):
    """Registers one template [m, 2] to many images' skeletons [b, n, 2].

    Returns shapes [b, m, 3] (x, y, radius) and costs [b]: mean squared distances, both ways, in pixels.
    """
    apart = ((template[:, None] - template[None]) ** 2).sum(-1)
    prior = 25 * np.exp(-apart / (2 * 9.0**2)) + 3 * np.exp(-apart / (2 * 3.5**2)) + 0.02 * np.eye(len(template))
    prior = prior.astype(np.float32)
    b, m = len(data), len(template)
    shape = np.repeat(template[None].astype(np.float32), b, 0)
    identity = np.eye(m, dtype=np.float32)
    for sigma in np.geomspace(3.0, 0.6, 18):
        fit = np.exp(-squared_distances(shape, data) / (2 * sigma**2)) * weights[:, None, :]
        share = fit / (fit.sum(1, keepdims=True) + 0.02)
        mass = share.sum(2)
        pull = share @ data - mass[:, :, None] * template
        system = mass[:, :, None] * prior + 2 * sigma**2 * identity
        shape = template + prior @ np.linalg.solve(system, pull)
    # The pen's radius, drawn from a little further along the stroke than the position.
    fit = np.exp(-squared_distances(shape, data) / (2 * 1.2**2)) * weights[:, None, :] + 1e-9
    radius = (fit * radii[:, None, :]).sum(2) / fit.sum(2)
    dense = np.concatenate([shape, (shape[:, edges[:, 0]] + shape[:, edges[:, 1]]) / 2], 1)
    apart = squared_distances(dense, data)
    apart_seen = np.where(weights[:, None, :] > 0, apart, 1e3)
    to_data = np.minimum(apart_seen.min(2), 16).mean(1)
    to_shape = (np.minimum(apart.min(1), 16) * weights).sum(1) / weights.sum(1)
    return np.concatenate([shape, radius[:, :, None]], 2), to_data + to_shape


def cluster(features, k, random):
    """k-means: centres [k, f] and assignments."""
    centres = features[random.choice(len(features), k, replace=False)]
    for _ in range(25):
        apart = (features**2).sum(1)[:, None] - 2 * features @ centres.T + (centres**2).sum(1)
        chosen = apart.argmin(1)
        for j in range(k):
            members = features[chosen == j]
            centres[j] = members.mean(0) if len(members) else features[random.integers(len(features))]
    return centres, chosen


def fit_class(images, random):
    """The styles of one class: list of (share, edges, mean [m, 3], directions [latents, m, 3])."""
    skeletons = [skeleton(image) for image in images]
    count = len(images)
    data = np.full((count, DATA_POINTS, 2), 1e2, np.float32)
    radii = np.ones((count, DATA_POINTS), np.float32)
    weights = np.zeros((count, DATA_POINTS), np.float32)
    for i, (pixels, radius) in enumerate(skeletons):
        kept = random.permutation(len(pixels))[:DATA_POINTS]
        data[i, : len(kept)] = to_pixels(pixels[kept])
        radii[i, : len(kept)] = radius[kept]
        weights[i, : len(kept)] = 1

    blurred = ndimage.gaussian_filter(images.astype(np.float32) / 255, (0, 1.2, 1.2))
    features = blurred[:, ::2, ::2].reshape(count, -1)
    centres, chosen = cluster(features, STYLES - RARE_STYLES, random)

    def try_templates(candidates, probe):
        """Traces candidate images; the costs of registering each to the probed images."""
        traced = [trace(*skeletons[i]) for i in candidates]
        costs = [register(*graph, data[probe], radii[probe], weights[probe])[1] for graph in traced]
        return traced, np.array(costs)

    # Each cluster's exemplar: of the images near its centre, the one whose graph fits the members best.
    templates = []
    for j, centre in enumerate(centres):
        members = np.flatnonzero(chosen == j)
        apart = ((features[members] - centre) ** 2).sum(1)
        traced, costs = try_templates(members[apart.argsort()[:6]], random.permutation(members)[:80])
        templates.append(traced[costs.mean(1).argmin()])

    shapes = [None] * count
    owner = np.zeros(count, int)
    best = np.full(count, np.inf)

    def assign(tried):
        """Registers the styles to the images that are to try them ([count, styles]); the best fit wins."""
        for j, (points, edges) in enumerate(templates):
            chosen = np.flatnonzero(tried[:, j])
            for part in np.array_split(chosen, len(chosen) // 256 + 1):
                found, costs = register(points, edges, data[part], radii[part], weights[part])
                for i, shape, cost in zip(part, found, costs):
                    if cost < best[i]:
                        shapes[i], owner[i], best[i] = shape, j, cost
        print(f"  cost: mean {best.mean():.3f}, median {np.median(best):.3f}, hard {np.quantile(best, 0.9):.3f}", flush=True)

    def nearest(size):
        apart = (features**2).sum(1)[:, None] - 2 * features @ centres.T + (centres**2).sum(1)
        return apart.argsort(1).argsort(1) < size

    assign(nearest(CANDIDATES))

    # Rare styles: greedily, of some badly fitted images, the one whose graph would mend most of the others.
    low, high = np.quantile(best, [1 - HARD, 1 - OUTLIERS])
    hard = random.permutation(np.flatnonzero((best > low) & (best < high)))
    probe = hard[:160]
    candidates = hard[-24:]
    traced, costs = try_templates(candidates, probe)
    current = best[probe].copy()
    for _ in range(RARE_STYLES):
        chosen = np.minimum(costs, current).mean(1).argmin()
        current = np.minimum(costs[chosen], current)
        templates.append(traced[chosen])
        centres = np.vstack([centres, features[candidates[chosen]]])
    tried = nearest(2) | (best > low)[:, None]
    tried[:, : STYLES - RARE_STYLES] = False
    assign(tried)

    def statistics(j):
        members = np.flatnonzero((owner == j) & (best < np.quantile(best, 1 - OUTLIERS)))
        stack = np.array([shapes[i] for i in members])
        return members, stack

    # The styles' mean shapes are better templates than their exemplars.
    for j, (points, edges) in enumerate(templates):
        members, stack = statistics(j)
        if len(members) >= LEAST_MEMBERS:
            templates[j] = (stack.mean(0)[:, :2], edges)
            centres[j] = features[members].mean(0)
    best[:] = np.inf
    first = nearest(2)
    first[np.arange(count), owner] = True
    assign(first)

    styles = []
    for j, (_, edges) in enumerate(templates):
        members, stack = statistics(j)
        if len(members) < LEAST_MEMBERS:
            continue
        mean = stack.mean(0)
        # Radii vary less than positions yet matter as much to the look.
        scale = np.tile([1, 1, 3], len(mean))
        _, lengths, directions = np.linalg.svd((stack - mean).reshape(len(stack), -1) * scale, full_matrices=False)
        directions = directions[:LATENTS] * lengths[:LATENTS, None] / np.sqrt(len(stack)) / scale
        styles.append((len(members) / count, edges, mean, directions.reshape(LATENTS, -1, 3)))
    print(f"  points {[len(style[2]) for style in styles]}, shares {[round(style[0], 2) for style in styles]}", flush=True)
    return styles


def write(path, classes):
    out = bytearray(b"STROKES1")
    out += bytes([len(classes), LATENTS])
    for styles in classes:
        out.append(len(styles))
        for share, edges, mean, directions in styles:
            out += bytes([max(1, min(255, round(share * 400))), len(mean), len(edges)])
            out += edges.astype(np.uint8).tobytes()
            out += np.clip(np.round(mean * MEAN_UNITS), 0, 255).astype(np.uint8).tobytes()
            out += np.clip(np.round(directions * DIRECTION_UNITS), -127, 127).astype(np.int8).tobytes()
    Path(path).write_bytes(out)
    print(f"{path}: {len(out)} bytes")


def main():
    folder, model = map(Path, sys.argv[1:])
    images = read_idx(folder / "train-images-idx3-ubyte.gz")
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz")
    classes = []
    for digit in range(10):
        print(f"digit {digit}", flush=True)
        classes.append(fit_class(images[labels == digit], np.random.default_rng(digit)))
    write(model, classes)


if __name__ == "__main__":
    main()
