package solve

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"idlegrid/jobs/examples/tour/route"
)

// fewest airports that the moves are made for: all those that a move names are different then.
const fewest = 8

// Options say which of the many tours to find and how hard to try.
type Options struct {
	Seed  uint64
	Kicks int // tries to improve after the first descent
}

// Result is a tour and where it came from.
type Result struct {
	Tour     []route.Airport // in visiting order, from where the greedy start began
	GreedyKm float64         // the length before any improvement
	Km       float64
}

// Try is one try to find a short tour, which may be interrupted between kicks: all of it is in memory.
type Try struct {
	airports []route.Airport
	search   *search
	rng      *rand.Rand
	start    int32
	greedyKm float64
	kicks    int // that are left
}

// Begin makes the greedy start. The same airports and options give the same tour, by whatever calls of Kick.
func Begin(airports []route.Airport, o Options) (*Try, error) {
	if len(airports) < fewest {
		return nil, fmt.Errorf("%d airports: a tour needs at least %d", len(airports), fewest)
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0)) // the seed is meant to tell it all
	g := newGlobe(airports)
	start := int32(rng.IntN(len(airports))) // at most route.MaxAirports
	s := newSearch(g, greedy(g, start))
	s.look(slices.Clone(s.order)...)
	greedyKm := route.Length(s.tour(airports, start))
	return &Try{airports: airports, search: s, rng: rng, start: start, greedyKm: greedyKm, kicks: o.Kicks}, nil
}

// Kick makes at most n of the kicks that are left, and returns how many are left then. The first call makes the first
// descent, too.
func (t *Try) Kick(n int) int {
	t.search.descend()
	for range min(n, t.kicks) {
		t.search.mark()
		if lost := t.search.kick(t.rng); t.search.descend() < lost {
			t.search.back()
		}
	}
	t.kicks -= min(n, t.kicks)
	return t.kicks
}

// Result returns what was found so far.
func (t *Try) Result() Result {
	tour := t.search.tour(t.airports, t.start)
	return Result{Tour: tour, GreedyKm: t.greedyKm, Km: route.Length(tour)}
}

// tour lists the airports in visiting order.
func (s *search) tour(airports []route.Airport, start int32) []route.Airport {
	tour := make([]route.Airport, 0, len(airports))
	for i := range s.order {
		tour = append(tour, airports[s.stop(int(s.at[start])+i)])
	}
	return tour
}

// greedy starts somewhere and always flies on to the nearest airport not yet visited.
func greedy(g *globe, start int32) []int32 {
	visited := make([]bool, len(g.points))
	order := make([]int32, 0, len(g.points))
	for a := start; a >= 0; a = g.nearestLeft(a, visited) {
		visited[a] = true
		order = append(order, a)
	}
	return order
}

// nearestLeft returns the nearest airport that is not visited, or -1.
func (g *globe) nearestLeft(a int32, visited []bool) int32 {
	near, _ := g.row(a)
	for _, b := range near {
		if !visited[b] {
			return b
		}
	}
	best, bestChord := int32(-1), 5.0 // more than the longest chord squared
	for b, done := range visited {
		if done {
			continue
		}
		if chord := g.chord2(a, int32(b)); chord < bestChord {
			best, bestChord = int32(b), chord
		}
	}
	return best
}
