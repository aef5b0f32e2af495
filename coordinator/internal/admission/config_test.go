package admission

import (
	"reflect"
	"strings"
	"testing"

	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs"
)

func TestConfigDefaults(t *testing.T) {
	dir := identitytest.Folder(t)
	want := Config{
		MaxAgents: 500, MaxJobsPerSubmitter: 100, MaxUnits: 10_000_000, MaxMemoryMiB: 4096, MaxTimeoutMinutes: 1440,
		MaxKeepDays: 30, MaxJobMiB: 10240, MaxDiskMiB: 102400,
		Costs: costs.Settings{
			WattsPerCore: 8, PricePerKWh: 0.13, CO2PerKWh: 367, Currency: "USD", Prices: []costs.Price{
				{Name: "AWS Fargate vCPU, us-east-1", PerCoreHour: 0.04048, Date: "2026-06-17"},
				{Name: "own server (example)", PerCoreHour: 0.017, Date: "2026-11-27"},
			},
		},
	}
	without, err := LoadConfig(dir)
	if err != nil || !reflect.DeepEqual(without, want) {
		t.Errorf("without a file: %+v, %v", without, err)
	}
	if err := WriteConfig(dir); err != nil {
		t.Fatal(err)
	}
	written, err := LoadConfig(dir)
	if err != nil || !reflect.DeepEqual(written, want) {
		t.Errorf("as init writes it: %+v, %v", written, err)
	}
	if err := dir.WriteFile(ConfigFile, []byte("max_units: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want.MaxUnits = 7
	partly, err := LoadConfig(dir)
	if err != nil || !reflect.DeepEqual(partly, want) {
		t.Errorf("with one key: %+v, %v", partly, err)
	}
}

// TestPricesReplace: what the file lists is all there is.
func TestPricesReplace(t *testing.T) {
	for text, want := range map[string][]costs.Price{
		"prices: []\n": nil,
		"watts_per_core: 0\nprices:\n- {name: ours, per_core_hour: 0.05, date: 2026-01-31}\n": {{Name: "ours", PerCoreHour: 0.05, Date: "2026-01-31"}},
	} {
		c, err := DefaultConfig()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.read([]byte(text)); err != nil || !reflect.DeepEqual(c.Costs.Prices, want) || c.Costs.PricePerKWh != 0.13 {
			t.Errorf("%q: %+v, %v", text, c.Costs, err)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"unknown key":  {"max_agent: 5\n", []string{"coordinator.yaml:1:1: max_agent: unknown key", "hint: did you mean max_agents?"}},
		"wrong type":   {"max_units: many\n", []string{`coordinator.yaml:1:12: max_units: is the text "many", expected a whole number`}},
		"negative":     {"max_units: -1\n", []string{"coordinator.yaml:1:12: max_units: is -1, expected"}},
		"no map":       {"- 5\n", []string{"coordinator.yaml:1:1: is a list, expected a map"}},
		"no yaml":      {"max_units: [\n", []string{"coordinator.yaml"}},
		"no flag":      {"metrics_submitters: yes\n", []string{`metrics_submitters: is the text "yes", expected true or false`}},
		"zero":         {"max_job_mib: 0\n", []string{"max_job_mib: is 0, expected a whole number from 1 to 1048576"}},
		"too much":     {"max_timeout_minutes: 1441\n", []string{"max_timeout_minutes: is 1441, expected a whole number from 1 to 1440"}},
		"all at once":  {"max_agents: 1001\nmax_keep_days: 31\n", []string{"1:13: max_agents: is 1001, expected", "2:16: max_keep_days: is 31, expected"}},
		"large":        {strings.Repeat("# much\n", maxConfig/7+1), []string{"bytes, expected at most 65536"}},
		"overflow":     {"max_memory_mib: 18446744073709551615\n", []string{"max_memory_mib"}},
		"largest unit": {"max_units: 1000000001\n", []string{"max_units: is 1000000001, expected a whole number from 1 to 1000000000"}},

		"negative watts":    {"watts_per_core: -0.5\n", []string{"coordinator.yaml:1:17: watts_per_core: is -0.5, expected a number from 0 to 1000"}},
		"watts of a heater": {"watts_per_core: 2000\n", []string{"watts_per_core: is 2000, expected a number from 0 to 1000"}},
		"not a number":      {"price_per_kwh: .nan\n", []string{"price_per_kwh: is .nan, expected a number from 0 to 1000000"}},
		"no end":            {"co2_grams_per_kwh: .inf\n", []string{"co2_grams_per_kwh: is .inf, expected a number from 0 to 10000"}},
		"hexadecimal":       {"watts_per_core: 0x10\n", []string{"watts_per_core: is 0x10, expected"}},
		"a comma":           {"price_per_kwh: 0,25\n", []string{"price_per_kwh: is", "expected a number"}},
		"a sign":            {"currency: €\n", []string{`coordinator.yaml:1:11: currency: is the text "€", expected 1 to 8 ASCII characters`}},
		"prices, no list":   {"prices: 5\n", []string{"prices: is 5, expected a list"}},
		"no price":          {"prices: [5]\n", []string{"prices[0]: is 5, expected a map"}},
		"no date":           {"prices:\n- {name: a, per_core_hour: 1}\n", []string{"coordinator.yaml:2:3: prices[0]: has no date", "hint: a price is {name: "}},
		"a key of a price":  {"prices:\n- {name: a, per_core_hour: 1, data: 2026-01-01}\n", []string{"2:31: prices[0].data: unknown key", "did you mean date?"}},
		"no day":            {"prices: [{name: a, per_core_hour: 1, date: 1.2.2026}]\n", []string{"prices[0].date: is the text \"1.2.2026\", expected a day as YYYY-MM-DD"}},
		"no name":           {`prices: [{name: "", per_core_hour: 1, date: 2026-01-01}]`, []string{"prices[0].name: is the text \"\", expected 1 to 60 characters"}},
		"two of a name": {
			"prices:\n- {name: a, per_core_hour: 1, date: 2026-01-01}\n- {name: a, per_core_hour: 2, date: 2026-01-01}\n",
			[]string{`coordinator.yaml:3:3: prices[1]: is a second price of the name "a"`, "hint: give each a name of its own"},
		},
		"many": {"prices: [" + strings.Repeat("{name: a, per_core_hour: 1, date: 2026-01-01}, ", 21) + "]\n", []string{"prices: has 21 prices, expected at most 20"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := identitytest.Folder(t)
			if err := dir.WriteFile(ConfigFile, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadConfig(dir)
			for _, want := range test.want {
				refused(t, err, jobs.Invalid, want)
			}
		})
	}
}
