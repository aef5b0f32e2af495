package costs

import (
	"fmt"
	"math"
	"slices"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// ToProto returns settings as the protocol has them, and which of them are those that a new grid has.
func ToProto(s, shipped Settings) *gridv1.CostSettings {
	out := &gridv1.CostSettings{
		WattsPerCore: s.WattsPerCore, PricePerKwh: s.PricePerKWh, Co2GramsPerKwh: s.CO2PerKWh, Currency: s.Currency,
	}
	for _, p := range s.Prices {
		out.Prices = append(out.Prices, &gridv1.CorePrice{Name: p.Name, PerCoreHour: p.PerCoreHour, Date: p.Date})
	}
	for _, k := range []struct {
		name string
		same bool
	}{
		{"watts_per_core", s.WattsPerCore == shipped.WattsPerCore},
		{"price_per_kwh", s.PricePerKWh == shipped.PricePerKWh},
		{"co2_grams_per_kwh", s.CO2PerKWh == shipped.CO2PerKWh},
		{"prices", slices.Equal(s.Prices, shipped.Prices)},
	} {
		if k.same {
			out.Shipped = append(out.Shipped, k.name)
		}
	}
	return out
}

// FromProto reads settings. What no coordinator would have read from its file is an error of kind jobs.Invalid.
func FromProto(p *gridv1.CostSettings) (Settings, error) {
	s := Settings{
		WattsPerCore: p.GetWattsPerCore(), PricePerKWh: p.GetPricePerKwh(), CO2PerKWh: p.GetCo2GramsPerKwh(), Currency: p.GetCurrency(),
	}
	err := CheckCurrency(s.Currency)
	check := func(e error) {
		if err == nil {
			err = e
		}
	}
	check(within(s.WattsPerCore, MaxWatts))
	check(within(s.PricePerKWh, MaxPrice))
	check(within(s.CO2PerKWh, MaxCO2))
	prices := p.GetPrices()
	if n := len(prices); n > MaxPrices {
		check(fmt.Errorf("%d prices, expected at most %d", n, MaxPrices))
		prices = nil
	}
	for _, p := range prices {
		s.Prices = append(s.Prices, Price{p.GetName(), p.GetPerCoreHour(), p.GetDate()})
		check(CheckName(p.GetName()))
		check(within(p.GetPerCoreHour(), MaxPrice))
		check(CheckDate(p.GetDate()))
	}
	if err != nil {
		return s, jobs.Errorf(jobs.Invalid, "settings of costs: %w", err)
	}
	return s, nil
}

func within(n, most float64) error {
	if math.IsNaN(n) || n < 0 || n > most {
		return fmt.Errorf("%v, expected 0 to %v", n, most)
	}
	return nil
}
