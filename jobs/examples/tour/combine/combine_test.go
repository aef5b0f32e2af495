package combine

import (
	"bytes"
	"fmt"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"idlegrid/jobs/examples/tour/draw"
	"idlegrid/jobs/examples/tour/route"
)

// a square of one degree, and the same places in a longer order.
const (
	square  = "iata,latitude,longitude\nAAA,40,-100\nBBB,40,-99\nCCC,41,-99\nDDD,41,-100\n"
	crossed = "iata,latitude,longitude\nAAA,40,-100\nCCC,41,-99\nBBB,40,-99\nDDD,41,-100\n"
)

func length(t *testing.T, tour string) float64 {
	t.Helper()
	airports, err := route.Read("tour", strings.NewReader(tour))
	if err != nil {
		t.Fatal(err)
	}
	return route.Length(airports)
}

func line(km float64) string { return fmt.Sprintf("{\"seed\":1,\"greedy_km\":600,\"km\":%.3f}\n", km) }

// results has four units: one fails after it wrote the shortest line of all, and unit 2 has the best tour.
func results(t *testing.T) fstest.MapFS {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	return fstest.MapFS{
		"units.json": file(`[{"unit":0,"status":"accepted","reason":"","digest":"00"},
			{"unit":1,"status":"failed","reason":"exit 1","digest":""},
			{"unit":2,"status":"accepted","reason":"","digest":"22"},
			{"unit":3,"status":"open","reason":"","digest":""},
			{"unit":1234567,"status":"accepted","reason":"","digest":"33"}]`),
		"units/000000/stdout":        file(line(length(t, crossed))),
		"units/000000/out/tour.csv":  file(crossed),
		"units/000001/stdout":        file(line(1)),
		"units/000002/stdout":        file(line(length(t, square))),
		"units/000002/out/tour.csv":  file(square),
		"units/1234567/stdout":       file(line(999)),
		"units/1234567/out/tour.csv": file("not read: not the best"),
	}
}

func TestCombine(t *testing.T) {
	r, err := Read(results(t))
	if err != nil {
		t.Fatal(err)
	}
	if r.Units != 5 || len(r.Found) != 3 || r.Found[0].Unit != 2 || r.Found[2].Unit != 1234567 {
		t.Errorf("%d units, found %v", r.Units, r.Found)
	}
	if want := line(length(t, crossed)); line(r.Median) != want {
		t.Errorf("the median is %g, expected that of %s", r.Median, want)
	}
	dir := t.TempDir()
	var printed bytes.Buffer
	if err := r.Write(dir, &printed); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A tour of 4 airports: the shortest of 3 tours found by 5 units.",
		"greedy start           600 km", "median                 502 km", "best                   391 km", "unit 2",
	} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("no %q in\n%s", want, &printed)
		}
	}
	picture, err := fs.ReadFile(os.DirFS(dir), "tour.png")
	if err != nil {
		t.Fatal(err)
	}
	if image, err := png.Decode(bytes.NewReader(picture)); err != nil || image.Bounds().Dx() != draw.Width {
		t.Errorf("tour.png: %v", err)
	}
	if best, err := fs.ReadFile(os.DirFS(dir), "best.csv"); err != nil || string(best) != square {
		t.Errorf("best.csv is %q, %v", best, err)
	}
}

func TestReadFaults(t *testing.T) {
	const best = "units/000002/"
	for _, c := range []struct{ name, file, text, fault string }{
		{"no index", "units.json", "", "units.json: file does not exist"},
		{"index is no JSON", "units.json", "[{]", "units.json: invalid character"},
		{"index is no list", "units.json", "{}", "units.json: json: cannot unmarshal object"},
		{"nothing accepted", "units.json", `[{"unit":1,"status":"failed"}]`, "no unit of 1 is accepted"},
		{"no units", "units.json", "[]", "no unit of 0 is accepted"},
		{"no line", best + "stdout", "", "units/000002/stdout: file does not exist"},
		{"two lines", best + "stdout", line(1) + line(2), "units/000002/stdout: expected one line of JSON"},
		{"no number", best + "stdout", `{"km":"far"}`, "units/000002/stdout: expected one line of JSON"},
		{"no length", best + "stdout", `{"seed":1}`, "km 0: expected lengths above zero"},
		{"endless line", best + "stdout", strings.Repeat(" ", maxStdout+1), "units/000002/stdout: larger than"},
		{"no tour", best + "out/tour.csv", "", "units/000002/out/tour.csv: file does not exist"},
		{"malformed tour", best + "out/tour.csv", "iata,latitude,longitude\nA,1\n", "units/000002/out/tour.csv:2: wrong number of fields"},
		{"another tour", best + "out/tour.csv", crossed, "km long, but unit 2 says 391.490 km"},
	} {
		folder := results(t)
		if delete(folder, c.file); c.text != "" {
			folder[c.file] = &fstest.MapFile{Data: []byte(c.text)}
		}
		if _, err := Read(folder); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, expected an error with %q", c.name, err, c.fault)
		}
	}
}

func TestMedianAndTies(t *testing.T) {
	found := func(km ...float64) []Found {
		var f []Found
		for i, k := range km {
			f = append(f, Found{uint64(i), Line{Km: k}})
		}
		return f
	}
	for _, c := range []struct {
		found []Found
		want  float64
	}{{found(3), 3}, {found(3, 5), 4}, {found(3, 4, 9), 4}, {found(1, 2, 4, 9), 3}} {
		if got := median(c.found); got != c.want {
			t.Errorf("the median of %v is %g, expected %g", c.found, got, c.want)
		}
	}
	if tie := found(7, 7); compare(tie[0], tie[1]) >= 0 || compare(tie[1], tie[0]) <= 0 || compare(tie[0], tie[0]) != 0 {
		t.Error("of two equal tours that of the lower unit comes first")
	}
}

func TestWriteWhereNothingCanBe(t *testing.T) {
	r, err := Read(results(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(filepath.Join(t.TempDir(), "none"), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "tour.png") {
		t.Errorf("%v, expected an error that names tour.png", err)
	}
}
