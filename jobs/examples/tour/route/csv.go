package route

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

const (
	// MaxAirports bounds what Read accepts: enough for every airport on earth, little enough for a small sandbox.
	MaxAirports = 50_000
	// maxBytes bounds a file, so that one endless line cannot eat the memory either.
	maxBytes = 16 << 20
)

// columns are what a file must have, in any order and among others; and what Write writes.
var columns = [3]string{"iata", "latitude", "longitude"}

// Read reads airports from CSV with a header line. The name stands in front of what is wrong, with the line. A
// tour is read the same way: it is airports in visiting order.
func Read(name string, r io.Reader) ([]Airport, error) {
	t, err := newTable(name, r)
	if err != nil {
		return nil, err
	}
	var airports []Airport
	seen := make(map[string]int) // code to line
	for {
		a, line, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if first, twice := seen[a.Code]; twice {
			return nil, fmt.Errorf("%s:%d: airport %q again, first on line %d", name, line, a.Code, first)
		}
		if len(airports) == MaxAirports {
			return nil, fmt.Errorf("%s:%d: more than %d airports", name, line, MaxAirports)
		}
		seen[a.Code] = line
		airports = append(airports, a)
	}
	if len(airports) == 0 {
		return nil, fmt.Errorf("%s: no airports below the header", name)
	}
	return airports, nil
}

// Write writes a tour so that Read gives back the same numbers, bit for bit.
func Write(w io.Writer, tour []Airport) error {
	b := bufio.NewWriter(w)
	c := csv.NewWriter(b)
	if err := c.Write(columns[:]); err != nil {
		return fmt.Errorf("write tour: %w", err)
	}
	for _, a := range tour {
		// The first error stays in the writer, and Error returns it below.
		_ = c.Write([]string{a.Code, degrees(a.Latitude), degrees(a.Longitude)})
	}
	c.Flush()
	if err := errors.Join(c.Error(), b.Flush()); err != nil {
		return fmt.Errorf("write tour: %w", err)
	}
	return nil
}

func degrees(d float64) string { return strconv.FormatFloat(d, 'f', -1, 64) }

// table is CSV whose header has been understood.
type table struct {
	name   string
	csv    *csv.Reader
	fields [3]int // where each of columns stands in a record
}

func newTable(name string, r io.Reader) (*table, error) {
	t := &table{name: name, csv: csv.NewReader(io.LimitReader(r, maxBytes))}
	t.csv.ReuseRecord = true
	header, err := t.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: empty, expected a header line with %q", name, columns)
	}
	if err != nil {
		return nil, t.malformed(err)
	}
	for i, column := range columns {
		if t.fields[i] = slices.Index(header, column); t.fields[i] < 0 {
			return nil, fmt.Errorf("%s:1: no column %q in the header, expected %q", name, column, columns)
		}
	}
	return t, nil
}

// next returns the next airport and its line, or io.EOF.
func (t *table) next() (Airport, int, error) {
	record, err := t.csv.Read()
	if errors.Is(err, io.EOF) {
		if t.csv.InputOffset() >= maxBytes {
			return Airport{}, 0, fmt.Errorf("%s: larger than %d MiB", t.name, maxBytes>>20)
		}
		return Airport{}, 0, io.EOF
	}
	if err != nil {
		return Airport{}, 0, t.malformed(err)
	}
	line, _ := t.csv.FieldPos(0)
	a := Airport{Code: record[t.fields[0]]}
	if a.Code == "" {
		return Airport{}, 0, fmt.Errorf("%s:%d: iata is empty", t.name, line)
	}
	var errLat, errLon error
	a.Latitude, errLat = t.angle(line, columns[1], record[t.fields[1]], 90)
	a.Longitude, errLon = t.angle(line, columns[2], record[t.fields[2]], 180)
	return a, line, errors.Join(errLat, errLon)
}

// angle parses degrees from -limit to limit.
func (t *table) angle(line int, column, text string, limit float64) (float64, error) {
	d, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(d) || math.Abs(d) > limit {
		return 0, fmt.Errorf("%s:%d: %s %q: expected degrees from %g to %g", t.name, line, column, text, -limit, limit)
	}
	return d, nil
}

// malformed puts the file's name and line in front of what the CSV reader found, which is an error of the stream
// if it is not about the text.
func (t *table) malformed(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return fmt.Errorf("%s:%d: %w", t.name, p.Line, p.Err)
	}
	return fmt.Errorf("read %s: %w", t.name, err)
}
