package ctl

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"idlegrid/agent/peer/steward"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	gridv1 "idlegrid/proto/grid/v1"
)

// savingsView is what -o json has.
type savingsView struct {
	Since      time.Time    `json:"since"`
	Until      time.Time    `json:"until"`
	Submitters []savingsOf  `json:"submitters"` // by name
	Total      savingsOf    `json:"total"`
	Offered    *offeredView `json:"offered,omitempty"` // for operators
	Settings   settingsView `json:"settings"`
}

// savingsOf is what the work of a submitter came to. Hours are of CPU time.
type savingsOf struct {
	Name       string          `json:"name"`
	Useful     float64         `json:"useful_cpu_hours"`
	Repeated   float64         `json:"repeated_cpu_hours"`
	Failed     float64         `json:"failed_cpu_hours"`
	Lost       float64         `json:"lost_cpu_hours"`
	Overhead   float64         `json:"overhead_cpu_hours"`
	Goodput    *float64        `json:"goodput"` // useful of all; null: there was nothing
	EnergyKWh  float64         `json:"energy_kwh"`
	EnergyCost float64         `json:"energy_cost"`
	CO2Kg      float64         `json:"co2_kg"`
	Elsewhere  []elsewhereView `json:"elsewhere"` // by the prices of the settings
}

type elsewhereView struct {
	Name  string  `json:"name"`
	Cost  float64 `json:"cost"`
	Saved float64 `json:"saved"` // the cost less that of the energy here
}

type offeredView struct {
	CoreHours    float64  `json:"core_hours"`
	UsedCPUHours float64  `json:"used_cpu_hours"`
	UsedShare    *float64 `json:"used_share"` // null: nothing was offered
}

type settingsView struct {
	WattsPerCore float64     `json:"watts_per_core"`
	PricePerKWh  float64     `json:"price_per_kwh"`
	CO2PerKWh    float64     `json:"co2_grams_per_kwh"`
	Currency     string      `json:"currency"`
	Prices       []priceView `json:"prices"`
	Shipped      []string    `json:"shipped"` // keys that are as in a new grid: nobody has set them
}

type priceView struct {
	Name        string  `json:"name"`
	PerCoreHour float64 `json:"per_core_hour"`
	Date        string  `json:"date"`
}

// newSavingsView adds up what the coordinator says.
func newSavingsView(reply *gridv1.AccountsReply, since, until time.Time) (*savingsView, error) {
	s, err := costs.FromProto(reply.GetCosts())
	if err != nil {
		return nil, err
	}
	var total ledger.Spend
	people := map[string]ledger.Spend{}
	for _, row := range reply.GetRows() {
		by, err := jobs.KeyIDFromBytes(row.GetSubmitter())
		if err != nil {
			return nil, err
		}
		name, spend := accounts.Name(by, row.GetOwner()), steward.SpendFromProto(row.GetSpend())
		sum := people[name]
		sum.Add(spend)
		people[name] = sum
		total.Add(spend)
	}
	v := &savingsView{
		Since: since.Truncate(time.Second), Until: until.Truncate(time.Second), Submitters: []savingsOf{},
		Total: newSavingsOf("total", total, s), Settings: newSettingsView(s, reply.GetCosts().GetShipped()),
	}
	for name, spend := range people {
		v.Submitters = append(v.Submitters, newSavingsOf(name, spend, s))
	}
	slices.SortFunc(v.Submitters, func(x, y savingsOf) int { return strings.Compare(x.Name, y.Name) })
	if reply.GetOperator() {
		var us uint64
		for _, o := range reply.GetOffered() {
			us += o.GetCoreUs()
		}
		v.Offered = &offeredView{CoreHours: costs.Hours(us), UsedCPUHours: costs.Hours(total.Total()), UsedShare: share(total.Total(), us)}
	}
	return v, nil
}

func newSavingsOf(name string, spent ledger.Spend, s costs.Settings) savingsOf {
	bill := s.Bill(spent)
	of := func(u ledger.Use) float64 { return costs.Hours(spent.CPU[u]) }
	out := savingsOf{
		Name: name, Useful: of(ledger.UsefulCPU), Repeated: of(ledger.RepeatedCPU), Failed: of(ledger.FailedCPU), Lost: of(ledger.LostCPU),
		Overhead: of(ledger.OverheadCPU), Goodput: share(spent.CPU[ledger.UsefulCPU], spent.Total()),
		EnergyKWh: bill.KWh, EnergyCost: bill.Cost, CO2Kg: bill.CO2, Elsewhere: []elsewhereView{},
	}
	for i, p := range s.Prices {
		out.Elsewhere = append(out.Elsewhere, elsewhereView{p.Name, bill.Elsewhere[i], bill.Saved(i)})
	}
	return out
}

func newSettingsView(s costs.Settings, shipped []string) settingsView {
	v := settingsView{
		WattsPerCore: s.WattsPerCore, PricePerKWh: s.PricePerKWh, CO2PerKWh: s.CO2PerKWh, Currency: s.Currency, Prices: []priceView{},
		Shipped: append([]string{}, shipped...),
	}
	for _, p := range s.Prices {
		v.Prices = append(v.Prices, priceView(p))
	}
	return v
}

func share(part, of uint64) *float64 {
	if of == 0 {
		return nil
	}
	s := float64(part) / float64(of)
	return &s
}

// csv has a line a submitter, below the names of the columns. Columns are added behind those that there are, before those
// of prices, of which each of the settings has two.
func (v *savingsView) csv() [][]string {
	head := []string{
		"since", "until", "submitter", "useful_cpu_hours", "repeated_cpu_hours", "failed_cpu_hours", "lost_cpu_hours", "overhead_cpu_hours",
		"goodput", "energy_kwh", "energy_cost", "co2_kg", "currency",
	}
	for _, p := range v.Settings.Prices {
		head = append(head, "elsewhere_cost "+p.Name, "saved "+p.Name)
	}
	rows := [][]string{head}
	for _, s := range v.Submitters {
		goodput := ""
		if s.Goodput != nil {
			goodput = plain(*s.Goodput)
		}
		row := []string{
			v.Since.UTC().Format(time.RFC3339), v.Until.UTC().Format(time.RFC3339), noFormula(s.Name),
			plain(s.Useful), plain(s.Repeated), plain(s.Failed), plain(s.Lost), plain(s.Overhead),
			goodput, plain(s.EnergyKWh), plain(s.EnergyCost), plain(s.CO2Kg), noFormula(v.Settings.Currency),
		}
		for _, e := range s.Elsewhere {
			row = append(row, plain(e.Cost), plain(e.Saved))
		}
		rows = append(rows, row)
	}
	return rows
}

// plain is a number for programs: six digits behind a point are CPU time to some milliseconds.
func plain(n float64) string { return strconv.FormatFloat(n, 'f', 6, 64) }

// noFormula keeps a spreadsheet from taking a text for a formula, which could run and send whatever is in the sheet.
func noFormula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
