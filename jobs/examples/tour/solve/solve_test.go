package solve

import (
	"cmp"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"idlegrid/jobs/examples/tour/route"
)

// drawAirports makes airports, some of them in one place, some on a line.
func drawAirports(t *rapid.T) []route.Airport {
	n := rapid.IntRange(fewest, 60).Draw(t, "airports")
	airports := make([]route.Airport, n)
	for i := range airports {
		airports[i] = route.Airport{
			Code:      string(rune('A' + i)),
			Latitude:  float64(rapid.IntRange(-90, 90).Draw(t, "latitude")),
			Longitude: float64(rapid.IntRange(-180, 180).Draw(t, "longitude")),
		}
	}
	return airports
}

// drawSearch makes a search on a random tour.
func drawSearch(t *rapid.T) *search {
	g := newGlobe(drawAirports(t))
	order := make([]int32, len(g.points))
	for i := range order {
		order[i] = int32(i)
	}
	return newSearch(g, rapid.Permutation(order).Draw(t, "order"))
}

func (s *search) length() float64 {
	km := 0.0
	for _, a := range s.order {
		km += s.km(a, s.next(a))
	}
	return km
}

// sound fails unless the cycle visits each airport once and both of its views agree.
func (s *search) sound(t *rapid.T) {
	for i, a := range s.order {
		if s.at[a] != int32(i) {
			t.Fatalf("airport %d is at position %d, but is said to be at %d", a, i, s.at[a])
		}
	}
	sorted := slices.Sorted(slices.Values(s.order))
	for i, a := range sorted {
		if a != int32(i) {
			t.Fatalf("%v does not visit each airport once", s.order)
		}
	}
}

func TestGlobeAgreesWithRoute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		degrees := func(limit float64) float64 { return rapid.Float64Range(-limit, limit).Draw(t, "degrees") }
		airports := []route.Airport{
			{Latitude: degrees(90), Longitude: degrees(180)}, {Latitude: degrees(90), Longitude: degrees(180)},
		}
		near := airports[0]
		near.Latitude = max(-90, min(90, near.Latitude+degrees(0.1)))
		airports = append(airports, near)
		g := newGlobe(airports)
		for i, b := range airports {
			want := route.Distance(airports[0], b)
			// Near the antipode both lose digits: a sine hardly changes there.
			tolerance := 1e-6 + 1e-3*max(0, want-19_900)
			if got := g.km(0, int32(i)); math.Abs(got-want) > tolerance {
				t.Fatalf("%v to %v: %.9f km, expected %.9f km", airports[0], b, got, want)
			}
		}
	})
}

func TestNeighboursAreTheNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGlobe(drawAirports(t))
		order := greedy(g, 0)
		for _, a := range order {
			var all []float64
			for _, b := range order {
				if b != a {
					all = append(all, g.km(a, b))
				}
			}
			slices.Sort(all)
			ids, km := g.row(a)
			for i, b := range ids {
				if b == a || km[i] != g.km(a, b) || math.Abs(km[i]-all[i]) > 1e-6 {
					t.Fatalf("neighbour %d of %d is %d at %g km, expected one at %g km", i, a, b, km[i], all[i])
				}
			}
			if slices.Sort(ids); len(slices.Compact(ids)) != min(neighbours, len(all)) {
				t.Fatalf("neighbours of %d: %v", a, ids)
			}
		}
	})
}

// TestMoves makes every move that there is on random tours: each is a tour again, and shorter by what was said.
func TestMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSearch(t)
		for range 40 {
			before := s.length()
			a := rapid.SampledFrom(s.order).Draw(t, "at")
			forward := rapid.Bool().Draw(t, "forward")
			move := rapid.SampledFrom([]func(int32, bool) float64{s.twoOpt, s.orOpt}).Draw(t, "move")
			gain := move(a, forward)
			s.sound(t)
			if after := s.length(); gain < 0 || math.Abs(before-gain-after) > 1e-6 {
				t.Fatalf("%g km, a move that gains %g km, then %g km", before, gain, after)
			}
		}
	})
}

func TestDescendEndsWhereNoMoveIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSearch(t)
		before := s.length()
		s.look(slices.Clone(s.order)...)
		gain := s.descend()
		s.sound(t)
		if after := s.length(); math.Abs(before-gain-after) > 1e-6 {
			t.Fatalf("%g km, then %g km gained, then %g km", before, gain, after)
		}
		if slices.Contains(s.queued, true) {
			t.Fatal("an airport is marked as queued in an empty queue")
		}
	})
}

func TestKickAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSearch(t)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)) // a property's input
		order, before := slices.Clone(s.order), s.length()
		s.mark()
		lost := s.kick(rng)
		s.sound(t)
		if after := s.length(); math.Abs(before+lost-after) > 1e-6 {
			t.Fatalf("%g km, a kick that loses %g km, then %g km", before, lost, after)
		}
		s.descend()
		s.back()
		s.sound(t)
		if !slices.Equal(s.order, order) {
			t.Fatalf("back at %v, expected %v", s.order, order)
		}
	})
}

// TestShift puts a stretch everywhere and compares with the same done on a list.
func TestShift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSearch(t)
		n := len(s.order)
		size := rapid.IntRange(1, n-3).Draw(t, "size")
		gap := rapid.IntRange(1, n-1-size).Draw(t, "gap") // from the stretch to its new place
		turned := rapid.Bool().Draw(t, "turned")
		list := slices.Clone(s.order) // before, stretch, between, right …
		stretch, between := slices.Clone(list[1:1+size]), list[1+size:1+size+gap]
		m := shift{
			before: list[0], first: stretch[0], last: stretch[size-1], after: between[0],
			left: between[gap-1], right: list[(1+size+gap)%n], turned: turned,
		}
		if turned {
			slices.Reverse(stretch)
		}
		want := slices.Concat(list[:1], between, stretch, list[1+size+gap:])
		s.shift(m)
		s.sound(t)
		if got := s.from(want[0], want[1]); !slices.Equal(got, want) {
			t.Fatalf("%+v gives %v, expected %v", m, got, want)
		}
	})
}

// from lists the cycle from one airport in the direction of another beside it.
func (s *search) from(a, b int32) []int32 {
	forward := s.next(a) == b
	list := []int32{a}
	for c := s.step(a, forward); c != a; c = s.step(c, forward) {
		list = append(list, c)
	}
	return list
}

func readAirports(t *testing.T) []route.Airport {
	t.Helper()
	text, err := os.ReadFile("../airports.csv")
	if err != nil {
		t.Fatal(err)
	}
	airports, err := route.Read("airports.csv", strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return airports
}

// find makes a whole try, so many kicks at a time.
func find(airports []route.Airport, o Options, atOnce int) (Result, error) {
	try, err := Begin(airports, o)
	if err != nil {
		return Result{}, err
	}
	for try.Kick(atOnce) > 0 {
	}
	return try.Result(), nil
}

func TestTour(t *testing.T) {
	airports := readAirports(t)
	found, err := find(airports, Options{Seed: 1, Kicks: 1000}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	byCode := func(a, b route.Airport) int { return cmp.Compare(a.Code, b.Code) }
	if !slices.Equal(slices.SortedFunc(slices.Values(found.Tour), byCode), slices.SortedFunc(slices.Values(airports), byCode)) {
		t.Error("the tour does not visit each airport once")
	}
	if found.Km != route.Length(found.Tour) || found.Km > 0.85*found.GreedyKm {
		t.Errorf("%g km after %g km, expected at least 15 %% less", found.Km, found.GreedyKm)
	}
	again, err := find(airports, Options{Seed: 1, Kicks: 1000}, 7)
	if err != nil || !slices.Equal(again.Tour, found.Tour) {
		t.Errorf("the same seed gave another tour, or %v", err)
	}
	other, err := find(airports, Options{Seed: 2, Kicks: 1000}, 1000)
	if err != nil || slices.Equal(other.Tour, found.Tour) || other.GreedyKm == found.GreedyKm {
		t.Errorf("another seed gave the same tour, or %v", err)
	}
	less, err := find(airports, Options{Seed: 1}, 1)
	if err != nil || less.GreedyKm != found.GreedyKm || less.Km <= found.Km {
		t.Errorf("%g km without a kick, %g km with 1000, or %v", less.Km, found.Km, err)
	}
	if less.Tour[0] != found.Tour[0] {
		t.Errorf("begins at %v and at %v", less.Tour[0], found.Tour[0])
	}
}

func TestTourOfFew(t *testing.T) {
	airports := readAirports(t)
	for n := range 2 * fewest {
		found, err := find(airports[:n], Options{Seed: 3, Kicks: 100}, 100)
		if n < fewest {
			if err == nil || !strings.Contains(err.Error(), "a tour needs at least 8") {
				t.Errorf("%d airports: %v", n, err)
			}
		} else if err != nil || len(found.Tour) != n || found.Km > found.GreedyKm+1e-6 {
			t.Errorf("%d airports: %d stops, %g km after %g km, %v", n, len(found.Tour), found.Km, found.GreedyKm, err)
		}
	}
}
