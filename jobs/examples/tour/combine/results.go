// Package combine makes one result out of the results of a job's units: it finds the shortest tour, says how it
// compares to the others, and has it drawn.
//
// It sees what every combine program sees, a folder with units.json and units/NNNNNN/{stdout,out/...}, and reads
// only units that were accepted: the folder of a failed unit holds what it wrote before it failed. It promises to
// measure the best tour again before it believes it, and to name the file in every error.
package combine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"idlegrid/jobs/examples/tour/route"
)

const (
	maxIndex  = 256 << 20 // bytes of units.json
	maxStdout = 64 << 10  // bytes of a unit's line
)

// Line is what a unit prints: one line of JSON.
type Line struct {
	Seed     uint64  `json:"seed"`
	GreedyKm float64 `json:"greedy_km"`
	Km       float64 `json:"km"`
}

// Results is what the units found.
type Results struct {
	Units  int       // of the job, accepted or not
	Found  []Found   // by accepted units, the shortest first; never empty
	Tour   []Airport // the shortest
	Median float64   // km
}

// Found is a tour that a unit found.
type Found struct {
	Unit uint64
	Line
}

// Airport is a stop of the tour.
type Airport = route.Airport

// Read reads a results folder.
func Read(folder fs.FS) (*Results, error) {
	var index []struct {
		Unit   uint64 `json:"unit"`
		Status string `json:"status"`
	}
	text, err := readFile(folder, "units.json", maxIndex)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("units.json: %w", err)
	}
	r := &Results{Units: len(index)}
	for _, row := range index {
		if row.Status != "accepted" {
			continue
		}
		line, err := readLine(folder, unitFolder(row.Unit)+"/stdout")
		if err != nil {
			return nil, err
		}
		r.Found = append(r.Found, Found{row.Unit, line})
	}
	if len(r.Found) == 0 {
		return nil, fmt.Errorf("units.json: no unit of %d is accepted, so there is no tour", r.Units)
	}
	slices.SortFunc(r.Found, compare)
	r.Median = median(r.Found)
	r.Tour, err = readTour(folder, r.Found[0])
	return r, err
}

// compare puts the shorter tour first, and of two equal ones that of the lower unit.
func compare(a, b Found) int {
	switch {
	case a.Km < b.Km || (a.Km == b.Km && a.Unit < b.Unit):
		return -1
	case a.Km == b.Km && a.Unit == b.Unit:
		return 0
	}
	return 1
}

// median expects the tours in order of length.
func median(found []Found) float64 {
	n := len(found)
	return (found[(n-1)/2].Km + found[n/2].Km) / 2
}

// unitFolder is where a unit's results are: six digits, more where the job needs them.
func unitFolder(unit uint64) string { return fmt.Sprintf("units/%06d", unit) }

func readLine(folder fs.FS, name string) (Line, error) {
	text, err := readFile(folder, name, maxStdout)
	if err != nil {
		return Line{}, err
	}
	var line Line
	if err := json.Unmarshal(bytes.TrimSpace(text), &line); err != nil {
		return Line{}, fmt.Errorf("%s: expected one line of JSON: %w", name, err)
	}
	if line.Km <= 0 || line.GreedyKm <= 0 {
		return Line{}, fmt.Errorf("%s: greedy_km %g, km %g: expected lengths above zero", name, line.GreedyKm, line.Km)
	}
	return line, nil
}

// readTour reads the tour of a unit and measures it.
func readTour(folder fs.FS, f Found) (tour []Airport, err error) {
	name := unitFolder(f.Unit) + "/out/tour.csv"
	file, err := folder.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if tour, err = route.Read(name, file); err != nil {
		return nil, err
	}
	const meter = 0.001
	if km := route.Length(tour); math.Abs(km-f.Km) > meter {
		return nil, fmt.Errorf("%s: is %.3f km long, but unit %d says %.3f km", name, km, f.Unit, f.Km)
	}
	return tour, nil
}

// readFile reads a file of bounded size.
func readFile(folder fs.FS, name string, limit int64) (text []byte, err error) {
	file, err := folder.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if text, err = io.ReadAll(io.LimitReader(file, limit+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return text, nil
}
