package route_test

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"

	"idlegrid/jobs/examples/tour/route"
)

func TestDistance(t *testing.T) {
	at := func(lat, lon float64) route.Airport { return route.Airport{Latitude: lat, Longitude: lon} }
	const degree = math.Pi / 180 * route.EarthRadius
	for _, c := range []struct {
		name string
		a, b route.Airport
		want float64 // km
	}{
		{"same place", at(40, -100), at(40, -100), 0},
		{"a degree of the equator", at(0, 10), at(0, 11), degree},
		{"a degree of a meridian", at(70, 10), at(71, 10), degree},
		{"over the antimeridian", at(0, 179.5), at(0, -179.5), degree},
		{"over the pole", at(89, 0), at(89, 180), 2 * degree},
		{"pole to pole", at(90, 0), at(-90, 123), 180 * degree},
		{"antipodes", at(12, 34), at(-12, -146), 180 * degree},
		{"Nashville to Los Angeles", at(36.12, -86.67), at(33.94, -118.40), 2886.448},
		{"one metre", at(45, 7), at(45+0.001/degree, 7), 0.001},
	} {
		got, back := route.Distance(c.a, c.b), route.Distance(c.b, c.a)
		if math.Abs(got-c.want) > 0.001 || math.Abs(got-back) > 1e-9 {
			t.Errorf("%s: %.6f km there, %.6f km back, expected %.6f km", c.name, got, back, c.want)
		}
	}
}

func TestAirportsOfTheExample(t *testing.T) {
	text, err := os.ReadFile("../airports.csv")
	if err != nil {
		t.Fatal(err)
	}
	airports, err := route.Read("airports.csv", bytes.NewReader(text))
	if err != nil || len(airports) != 3376 {
		t.Fatalf("%d airports and %v, expected 3376 and no error", len(airports), err)
	}
}

const three = "iata,name,latitude,longitude\nAAA,one,0,0\nBBB,\"two\nlines\",0,1\nCCC,three,1,0\n"

func TestCheck(t *testing.T) {
	const head = "iata,latitude,longitude\n"
	for _, c := range []struct{ name, airports, tour, fault string }{
		{"good", three, head + "CCC,1,0\nAAA,0,0\nBBB,0,1\n", ""},
		{"columns in another order", three, "longitude,iata,latitude\n0,CCC,1\n0,AAA,0\n1,BBB,0\n", ""},
		{"left out", three, head + "AAA,0,0\nBBB,0,1\n", "CCC is never visited (1 airports left out)"},
		{"visited twice", three, head + "AAA,0,0\nBBB,0,1\nCCC,1,0\nAAA,0,0\n", `tour.csv:5: airport "AAA" again, first on line 2`},
		{"invented", three, head + "AAA,0,0\nBBB,0,1\nCCC,1,0\nDDD,1,0\n", "stop 4 is {DDD 1 0}: no such airport"},
		{"moved", three, head + "AAA,0,0.5\nBBB,0,1\nCCC,1,0\n", "stop 1 is {AAA 0 0.5}: no such airport"},
		{"bad airports", "iata\n", head + "AAA,0,0\n", `airports.csv:1: no column "latitude"`},
	} {
		km, err := route.Check(strings.NewReader(c.airports), strings.NewReader(c.tour))
		if c.fault == "" {
			want := (2 + math.Sqrt2) * math.Pi / 180 * route.EarthRadius // as good as flat
			if err != nil || math.Abs(km-want) > 0.1 {
				t.Errorf("%s: %.3f km and %v, expected %.3f km", c.name, km, err, want)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.fault) || km != 0 {
			t.Errorf("%s: %g km and %v, expected an error with %q", c.name, km, err, c.fault)
		}
	}
}

func TestReadFaults(t *testing.T) {
	const head = "iata,latitude,longitude\n"
	for _, c := range []struct{ name, text, fault string }{
		{"nothing", "", "x.csv: empty, expected a header line"},
		{"header only", head, "x.csv: no airports below the header"},
		{"no such column", "iata,lat,lon\n", `x.csv:1: no column "latitude" in the header`},
		{"too few fields", head + "A,1,2\nB,1\n", "x.csv:3: wrong number of fields"},
		{"too many fields", head + "A,1,2,3\n", "x.csv:2: wrong number of fields"},
		{"open quote", head + "A,1,2\n\"B,1,2\n", "x.csv:3: extraneous or missing \" in quoted-field"},
		{"no code", head + ",1,2\n", "x.csv:2: iata is empty"},
		{"no number", head + "A,1,2\nB,north,2\n", `x.csv:3: latitude "north": expected degrees from -90 to 90`},
		{"too far north", head + "A,90.1,2\n", `x.csv:2: latitude "90.1"`},
		{"too far west", head + "A,1,-180.5\n", `x.csv:2: longitude "-180.5": expected degrees from -180 to 180`},
		{"NaN", head + "A,NaN,2\n", `x.csv:2: latitude "NaN"`},
		{"infinite", head + "A,1,Inf\n", `x.csv:2: longitude "Inf"`},
		{"two faults", head + "A,x,y\n", "latitude \"x\": expected degrees from -90 to 90\nx.csv:2: longitude"},
		{"twice", head + "A,1,2\n\nA,3,4\n", `x.csv:4: airport "A" again, first on line 2`},
		{"endless", head + strings.Repeat("\n", 17<<20), "x.csv: larger than 16 MiB"},
	} {
		airports, err := route.Read("x.csv", strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.fault) || airports != nil {
			t.Errorf("%s: %d airports and %v, expected an error with %q", c.name, len(airports), err, c.fault)
		}
	}
}

func TestReadAtMost(t *testing.T) {
	var text strings.Builder
	text.WriteString("iata,latitude,longitude\n")
	for i := range route.MaxAirports + 1 {
		text.WriteString("A" + strings.Repeat("x", i%200) + string(rune('0'+i/200)) + ",1,2\n")
		if i+1 == route.MaxAirports {
			if _, err := route.Read("x", strings.NewReader(text.String())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := route.Read("x", strings.NewReader(text.String())); err == nil || !strings.Contains(err.Error(), "more than 50000 airports") {
		t.Fatalf("%v, expected an error for one airport too many", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"", three, "iata,latitude,longitude\nA,1,2\n", "iata,latitude,longitude\nA,1\n", "iata,latitude,longitude\n\"A,1,2\n",
		"iata,latitude,longitude\nA,1e-300,-0\n", "\xff\xfe,\n", "iata,latitude,longitude\r\n\"A\"\"\",1,0x1p-2\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		airports, err := route.Read("x.csv", strings.NewReader(text))
		if err != nil {
			if airports != nil || !strings.HasPrefix(err.Error(), "x.csv:") {
				t.Fatalf("%d airports with the error %q", len(airports), err)
			}
			return
		}
		var written bytes.Buffer
		if err := route.Write(&written, airports); err != nil {
			t.Fatal(err)
		}
		if _, err := route.Check(strings.NewReader(text), &written); err != nil {
			t.Fatalf("what was read and written differs: %v", err)
		}
	})
}
