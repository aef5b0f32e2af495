// Package costs turns CPU time into energy, CO2 and money. It is arithmetic on settings of the operator, and no better
// than they are: deploy/docs/accounting.md has the formulas and what they leave out.
package costs

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

// The bounds of settings: what is beyond them is a slip of the pen.
const (
	MaxWatts    = 1000.0
	MaxPrice    = 1e6 // of a kWh or a core-hour, in any currency
	MaxCO2      = 10_000.0
	MaxPrices   = 20
	maxName     = 60 // characters
	maxCurrency = 8
)

// Settings are what the operator says of energy and money.
type Settings struct {
	WattsPerCore float64 // that a busy core takes more than an idle one, at the wall
	PricePerKWh  float64
	CO2PerKWh    float64 // grams
	Currency     string  // of all prices
	Prices       []Price // in the order of the file
}

// Price is what an hour of a core costs elsewhere.
type Price struct {
	Name        string
	PerCoreHour float64
	Date        string // of the price, YYYY-MM-DD
}

// Bill is what CPU time comes to.
type Bill struct {
	KWh       float64
	Cost      float64   // of the energy
	CO2       float64   // kilograms
	Elsewhere []float64 // what the useful part would have cost, by the prices
}

// Hours returns CPU time in hours.
func Hours(us uint64) float64 { return float64(us) / 3.6e9 }

// Bill returns the energy of all that was spent, and what elsewhere the useful part alone would have cost: there each unit
// would have run once.
func (s Settings) Bill(spent ledger.Spend) Bill {
	b := Bill{KWh: Hours(spent.Total()) * s.WattsPerCore / 1000, Elsewhere: make([]float64, len(s.Prices))}
	b.Cost, b.CO2 = b.KWh*s.PricePerKWh, b.KWh*s.CO2PerKWh/1000
	for i, p := range s.Prices {
		b.Elsewhere[i] = Hours(spent.CPU[ledger.UsefulCPU]) * p.PerCoreHour
	}
	return b
}

// Saved is what price number i comes to less the cost of the energy; negative where elsewhere were cheaper.
func (b Bill) Saved(i int) float64 { return b.Elsewhere[i] - b.Cost }

// CheckCurrency returns an error of kind jobs.Invalid for what is no short ASCII word or sign.
func CheckCurrency(s string) error {
	if s == "" || len(s) > maxCurrency || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return jobs.Errorf(jobs.Invalid, "expected 1 to %d ASCII characters without spaces, such as EUR", maxCurrency)
	}
	return nil
}

// CheckName returns an error of kind jobs.Invalid for what is no name of a price.
func CheckName(s string) error {
	if n := utf8.RuneCountInString(s); n == 0 || n > maxName || !utf8.ValidString(s) || strings.TrimSpace(s) != s ||
		strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return jobs.Errorf(jobs.Invalid, "expected 1 to %d characters that can be printed, without spaces around them", maxName)
	}
	return nil
}

// CheckDate returns an error of kind jobs.Invalid for what is no day.
func CheckDate(s string) error {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return jobs.Errorf(jobs.Invalid, "expected a day as YYYY-MM-DD")
	}
	return nil
}
