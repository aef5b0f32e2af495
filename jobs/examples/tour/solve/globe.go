package solve

import (
	"cmp"
	"math"
	"slices"

	"idlegrid/jobs/examples/tour/route"
)

// neighbours is how many of the nearest airports a move looks at.
const neighbours = 8

// globe is the airports made ready for some million distances: as points on the unit sphere, each with its nearest
// others, nearest first. Nothing changes it once it is made.
type globe struct {
	points []point
	near   []int32   // neighbours of airport a at [a*k : a*k+k]
	nearKm []float64 // and how far they are
	k      int       // neighbours of each: fewer on a small map
}

type point struct{ x, y, z float64 }

func newGlobe(airports []route.Airport) *globe {
	n := len(airports)
	g := &globe{points: make([]point, n), k: min(neighbours, n-1)}
	for i, a := range airports {
		sinLat, cosLat := math.Sincos(a.Latitude * math.Pi / 180)
		sinLon, cosLon := math.Sincos(a.Longitude * math.Pi / 180)
		g.points[i] = point{cosLat * cosLon, cosLat * sinLon, sinLat}
	}
	g.near, g.nearKm = make([]int32, n*g.k), make([]float64, n*g.k)
	g.findNeighbours()
	return g
}

// km is the great-circle distance, the same as route.Distance to a millimetre. Half of the chord between two points
// is the sine of half of the angle at the centre, so that no trigonometry is left. Most of the program's time is
// spent here, and a call of another function would double it in WebAssembly.
func (g *globe) km(a, b int32) float64 {
	p, q := &g.points[a], &g.points[b]
	x, y, z := p.x-q.x, p.y-q.y, p.z-q.z
	half, scale := math.Sqrt(x*x+y*y+z*z)/2, 2*route.EarthRadius
	for half > 0.02 { // 255 km: halve the angle until the series of the arcsine below is exact
		half, scale = half/math.Sqrt(2+2*math.Sqrt(max(0, 1-half*half))), 2*scale
	}
	s := half * half
	return scale * half * (1 + s*(1.0/6+s*(3.0/40+s*(15.0/336))))
}

// row returns the neighbours of a and their distances.
func (g *globe) row(a int32) ([]int32, []float64) {
	i := int(a) * g.k
	return g.near[i : i+g.k], g.nearKm[i : i+g.k]
}

// findNeighbours fills the lists. From each airport it walks away in order of z, both ways, until the difference in
// z alone is more than the farthest neighbour held: a sixth of the work of comparing all pairs.
func (g *globe) findNeighbours() {
	byZ := make([]int32, len(g.points))
	for i := range byZ {
		byZ[i] = int32(i)
	}
	slices.SortFunc(byZ, func(a, b int32) int {
		return cmp.Or(cmp.Compare(g.points[a].z, g.points[b].z), cmp.Compare(a, b))
	})
	held := nearest{limit: g.k}
	for i, a := range byZ {
		held.reset()
		for _, step := range []int{-1, 1} {
			for j := i + step; j >= 0 && j < len(byZ); j += step {
				dz := g.points[byZ[j]].z - g.points[a].z
				if dz*dz > held.worst {
					break
				}
				held.offer(byZ[j], g.chord2(a, byZ[j]))
			}
		}
		ids, km := g.row(a)
		for k, b := range held.ids {
			ids[k], km[k] = b, g.km(a, b)
		}
	}
}

// chord2 is the square of the straight distance through the earth, in radii: enough to compare.
func (g *globe) chord2(a, b int32) float64 {
	p, q := &g.points[a], &g.points[b]
	x, y, z := p.x-q.x, p.y-q.y, p.z-q.z
	return x*x + y*y + z*z
}

// nearest holds the closest few of the airports offered, closest first.
type nearest struct {
	limit  int
	ids    []int32
	chords []float64 // squared
	worst  float64   // the last of chords, or infinity while there is room
}

func (h *nearest) reset() { h.ids, h.chords, h.worst = h.ids[:0], h.chords[:0], math.Inf(1) }

func (h *nearest) offer(id int32, chord float64) {
	if chord >= h.worst {
		return
	}
	if len(h.ids) == h.limit {
		h.ids, h.chords = h.ids[:h.limit-1], h.chords[:h.limit-1]
	}
	at, _ := slices.BinarySearch(h.chords, chord)
	h.ids, h.chords = slices.Insert(h.ids, at, id), slices.Insert(h.chords, at, chord)
	if len(h.ids) == h.limit {
		h.worst = h.chords[h.limit-1]
	}
}
