// Package route knows airports, the distance between two of them, and tours: the order in which a traveller
// visits every airport once and comes home.
//
// It promises that what it reads is sound (known columns, finite coordinates in range, no airport twice) or comes
// back as an error that names file and line. It deliberately does not know how a good tour is found (solve) or
// shown (draw): its Check judges any tour, whoever made it.
package route

import (
	"fmt"
	"io"
	"math"
)

// EarthRadius is the mean radius of the earth in km, R1 = (2a+b)/3 of the GRS 80 ellipsoid: H. Moritz, "Geodetic
// Reference System 1980", Journal of Geodesy 74 (2000). On a sphere of that radius a distance is within about
// half a percent of the one on the ellipsoid.
const EarthRadius = 6371.0088

// Airport is a place to visit.
type Airport struct {
	Code      string  // IATA or FAA code, unique
	Latitude  float64 // degrees, north is positive
	Longitude float64 // degrees, east is positive
}

// Distance returns the great-circle distance in km. It is the haversine formula, which stays exact for neighbours
// where the shorter formula with one arccosine loses half of its digits.
func Distance(a, b Airport) float64 {
	const radian = math.Pi / 180
	dLat := math.Sin((b.Latitude - a.Latitude) * radian / 2)
	dLon := math.Sin((b.Longitude - a.Longitude) * radian / 2)
	h := dLat*dLat + math.Cos(a.Latitude*radian)*math.Cos(b.Latitude*radian)*dLon*dLon
	return 2 * EarthRadius * math.Asin(math.Sqrt(min(1, h)))
}

// Length returns the km of the closed tour: every leg and the way home.
func Length(tour []Airport) float64 {
	km := 0.0
	for i, a := range tour {
		km += Distance(a, tour[(i+1)%len(tour)])
	}
	return km
}

// Check reads the airports and a tour over them, and returns the tour's length in km, computed from the airports'
// own coordinates. It is an error if the tour leaves one out, visits one twice, invents or moves one.
func Check(airportsCSV, tourCSV io.Reader) (float64, error) {
	airports, err := Read("airports.csv", airportsCSV)
	if err != nil {
		return 0, err
	}
	tour, err := Read("tour.csv", tourCSV) // refuses an airport that comes twice
	if err != nil {
		return 0, err
	}
	known := make(map[string]Airport, len(airports))
	for _, a := range airports {
		known[a.Code] = a
	}
	for i, a := range tour {
		if want, ok := known[a.Code]; !ok || a != want {
			return 0, fmt.Errorf("tour.csv: stop %d is %v: no such airport in airports.csv", i+1, a)
		}
		delete(known, a.Code)
	}
	for _, a := range airports {
		if _, left := known[a.Code]; left {
			return 0, fmt.Errorf("tour.csv: %s is never visited (%d airports left out)", a.Code, len(known))
		}
	}
	return Length(tour), nil
}
