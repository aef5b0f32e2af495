package costs

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

var ours = Settings{WattsPerCore: 8, PricePerKWh: 0.13, CO2PerKWh: 367, Currency: "USD", Prices: []Price{{"a", 0.04, "2026-11-26"}, {"b", 0, "2026-01-01"}}}

func TestSettingsTravel(t *testing.T) {
	p := ToProto(ours, Settings{CO2PerKWh: 367, Prices: ours.Prices})
	got, err := FromProto(p)
	if err != nil || !reflect.DeepEqual(got, ours) {
		t.Errorf("%+v, %v", got, err)
	}
	if want := []string{"co2_grams_per_kwh", "prices"}; !slices.Equal(p.GetShipped(), want) {
		t.Errorf("%v are as shipped, expected %v", p.GetShipped(), want)
	}
}

func TestSettingsRefused(t *testing.T) {
	for name, change := range map[string]func(*gridv1.CostSettings){
		"nothing at all":  func(p *gridv1.CostSettings) { p.Currency = "" },
		"no number":       func(p *gridv1.CostSettings) { p.WattsPerCore = math.NaN() },
		"no end":          func(p *gridv1.CostSettings) { p.PricePerKwh = math.Inf(1) },
		"less than none":  func(p *gridv1.CostSettings) { p.Co2GramsPerKwh = -1 },
		"a price of NaN":  func(p *gridv1.CostSettings) { p.Prices[1].PerCoreHour = math.NaN() },
		"a name":          func(p *gridv1.CostSettings) { p.Prices[0].Name = "\x1b[2J" },
		"a date":          func(p *gridv1.CostSettings) { p.Prices[0].Date = "now" },
		"too many prices": func(p *gridv1.CostSettings) { p.Prices = slices.Repeat(p.Prices, 11) },
	} {
		p := ToProto(ours, ours)
		change(p)
		if _, err := FromProto(p); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
