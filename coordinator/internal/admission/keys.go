package admission

import (
	"fmt"
	"time"

	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/yamlfile"
)

// key is one thing that the limits file can say.
type key struct {
	name string
	read func(*yamlfile.Reader, yamlfile.Field, *Config)
}

// number is a key of a whole number from 1 on.
func number[N int | int64 | uint64](name string, most uint64, at func(*Config) *N) key {
	return key{name, func(r *yamlfile.Reader, f yamlfile.Field, c *Config) { *at(c) = N(r.Number(f, 1, most)) }}
}

// decimal is a key of a number from 0 on.
func decimal(name string, most float64, at func(*costs.Settings) *float64) key {
	return key{name, func(r *yamlfile.Reader, f yamlfile.Field, c *Config) { *at(&c.Costs) = r.Decimal(f, 0, most) }}
}

// keys are all there are.
func keys() []key {
	const maxLive = 1_000_000 // jobs of a submitter
	return []key{
		number("max_agents", 1000, func(c *Config) *int { return &c.MaxAgents }),
		number("max_jobs_per_submitter", maxLive, func(c *Config) *int { return &c.MaxJobsPerSubmitter }),
		number("max_units", manifest.MaxUnits, func(c *Config) *uint64 { return &c.MaxUnits }),
		number("max_memory_mib", manifest.MaxMemory>>20, func(c *Config) *uint64 { return &c.MaxMemoryMiB }),
		number("max_timeout_minutes", uint64(manifest.MaxTimeout/time.Minute), func(c *Config) *int { return &c.MaxTimeoutMinutes }),
		number("max_keep_days", 30, func(c *Config) *int { return &c.MaxKeepDays }),
		number("max_job_mib", manifest.MaxBlob>>20, func(c *Config) *int64 { return &c.MaxJobMiB }),
		number("max_disk_mib", manifest.MaxBlob>>20, func(c *Config) *int64 { return &c.MaxDiskMiB }),
		{"metrics_submitters", func(r *yamlfile.Reader, f yamlfile.Field, c *Config) { c.MetricsSubmitters, _ = r.Flag(f) }},
		decimal("watts_per_core", costs.MaxWatts, func(s *costs.Settings) *float64 { return &s.WattsPerCore }),
		decimal("price_per_kwh", costs.MaxPrice, func(s *costs.Settings) *float64 { return &s.PricePerKWh }),
		decimal("co2_grams_per_kwh", costs.MaxCO2, func(s *costs.Settings) *float64 { return &s.CO2PerKWh }),
		{"currency", func(r *yamlfile.Reader, f yamlfile.Field, c *Config) {
			c.Costs.Currency = word(r, f, costs.CheckCurrency)
		}},
		{"prices", readPrices},
	}
}

// read sets what the text names. Its error tells all that is wrong.
func (c *Config) read(text []byte) error {
	r := &yamlfile.Reader{File: ConfigFile}
	body, problem := yamlfile.Parse(text, "a "+ConfigFile)
	if problem != nil {
		r.Add(problem)
	}
	if body != nil {
		c.readKeys(r, yamlfile.Field{Node: body})
	}
	if len(r.Problems) > 0 {
		return r.Problems.Sorted()
	}
	return nil
}

func (c *Config) readKeys(r *yamlfile.Reader, f yamlfile.Field) {
	var known []string
	for _, k := range keys() {
		known = append(known, k.name)
	}
	fields, _ := r.Fields(f, known)
	for _, k := range keys() {
		if f, there := fields[k.name]; there {
			k.read(r, f, c)
		}
	}
}

// word reads a text that has to pass a check.
func word(r *yamlfile.Reader, f yamlfile.Field, check func(string) error) string {
	s, ok := r.Text(f)
	if err := check(s); ok && err != nil {
		r.Wrong(f, "is "+yamlfile.Describe(f.Node)+", "+err.Error(), "")
	}
	return s
}

func readPrices(r *yamlfile.Reader, f yamlfile.Field, c *Config) {
	items, ok := r.List(f)
	if !ok {
		return
	}
	if len(items) > costs.MaxPrices {
		r.Wrong(f, fmt.Sprintf("has %d prices, expected at most %d", len(items), costs.MaxPrices), "")
		return
	}
	c.Costs.Prices = nil
	seen := map[string]bool{}
	for _, item := range items {
		if p, ok := readPrice(r, item); ok {
			if seen[p.Name] {
				r.Wrong(item, fmt.Sprintf("is a second price of the name %q", p.Name), "give each a name of its own")
			}
			seen[p.Name] = true
			c.Costs.Prices = append(c.Costs.Prices, p)
		}
	}
}

func readPrice(r *yamlfile.Reader, item yamlfile.Field) (p costs.Price, ok bool) {
	known := []string{"name", "per_core_hour", "date"}
	fields, ok := r.Fields(item, known)
	if !ok {
		return p, false
	}
	for _, name := range known {
		if !fields[name].Present() {
			r.Wrong(item, "has no "+name, `a price is {name: "cloud", per_core_hour: 0.05, date: 2026-11-27}`)
			ok = false
		}
	}
	if ok {
		p.Name = word(r, fields["name"], costs.CheckName)
		p.PerCoreHour = r.Decimal(fields["per_core_hour"], 0, costs.MaxPrice)
		p.Date = word(r, fields["date"], costs.CheckDate)
	}
	return p, ok
}
