package policy

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"idlegrid/jobs/yamlfile"
)

// key is one thing that a policy can say.
type key struct {
	name string // with its group, such as away.cores
	// read returns what sets the value, or nil when the field holds none and it has said why.
	read func(*yamlfile.Reader, yamlfile.Field) func(*Values)
	show func(*Values) string // as a file has it
}

// keyOf makes a key from where its value is, how it is read and how it is written.
func keyOf[T any](name string, at func(*Values) *T, read func(*yamlfile.Reader, yamlfile.Field) (T, bool), show func(T) string) key {
	return key{
		name: name,
		read: func(r *yamlfile.Reader, f yamlfile.Field) func(*Values) {
			value, ok := read(r, f)
			if !ok {
				return nil
			}
			return func(v *Values) { *at(v) = value }
		},
		show: func(v *Values) string { return show(*at(v)) },
	}
}

// The bounds of times and sizes: what is beyond them is a slip of the pen.
const (
	maxWait  = 24 * time.Hour
	maxBytes = int64(1) << 50
	maxList  = 256 // items of a list
	maxItem  = 256 // bytes of one
	minID    = 8   // hex digits that name a submitter: fewer would name others too
)

// keys are all there are, in the order in which they are shown.
func keys() []key {
	var all []key
	for _, g := range []struct {
		name string
		use  func(*Values) *Use
	}{
		{"in_use", func(v *Values) *Use { return &v.InUse }},
		{"away", func(v *Values) *Use { return &v.Away }},
	} {
		all = append(
			all,
			keyOf(g.name+".cores", func(v *Values) *Amount { return &g.use(v).Cores }, readAmount, Amount.String),
			keyOf(g.name+".others_cpu", func(v *Values) *float64 { return &g.use(v).Others }, share(100), showShare),
			keyOf(g.name+".memory", func(v *Values) *float64 { return &g.use(v).Memory }, share(90), showShare),
			keyOf(g.name+".disk_write", func(v *Values) *int64 { return &g.use(v).DiskWrite }, rate("MiB/s"), showRate("MiB/s")),
			keyOf(g.name+".network", func(v *Values) *int64 { return &g.use(v).Network }, rate("KiB/s"), showRate("KiB/s")),
		)
	}
	wait := func(name string, least time.Duration, at func(*Values) *time.Duration) key {
		return keyOf(name, at, duration(least), showDuration)
	}
	flag := func(name string, at func(*Values) *bool) key {
		return keyOf(name, at, (*yamlfile.Reader).Flag, strconv.FormatBool)
	}
	list := func(name string, at func(*Values) *[]string, wrong func(string) string) key {
		return keyOf(name, at, texts(wrong), showList)
	}
	return append(
		all,
		keyOf("disk", func(v *Values) *int64 { return &v.Disk }, rate("GiB"), showRate("GiB")),
		keyOf("free_memory", func(v *Values) *float64 { return &v.FreeMemory }, share(90), showShare),
		wait("idle", 10*time.Second, func(v *Values) *time.Duration { return &v.Idle }),
		wait("idle_locked", 0, func(v *Values) *time.Duration { return &v.IdleLocked }),
		wait("resume_after", 10*time.Second, func(v *Values) *time.Duration { return &v.Resume }),
		wait("give_back_after", 0, func(v *Values) *time.Duration { return &v.GiveBack }),
		flag("on_battery", func(v *Values) *bool { return &v.OnBattery }),
		keyOf("min_charge", func(v *Values) *float64 { return &v.MinCharge }, share(100), showShare),
		keyOf("max_temperature", func(v *Values) *float64 { return &v.MaxTemperature }, degrees, showDegrees),
		flag("metered", func(v *Values) *bool { return &v.Metered }),
		flag("presenting", func(v *Values) *bool { return &v.Presenting }),
		keyOf("hours", func(v *Values) *Hours { return &v.Hours }, readHours, Hours.String),
		list("exclusive", func(v *Values) *[]string { return &v.Exclusive }, noProgram),
		flag("native", func(v *Values) *bool { return &v.Native }),
		list("refuse.submitters", func(v *Values) *[]string { return &v.Submitters }, noSubmitter),
		list("refuse.jobs", func(v *Values) *[]string { return &v.Jobs }, noPattern),
	)
}

// Defaults are the values where no layer says anything.
func Defaults() Values {
	return Values{
		InUse: Use{Cores: Amount{}, Others: 0.1, Memory: 0.25, DiskWrite: 5 << 20, Network: 512 << 10},
		Away:  Use{Cores: Amount{N: 100, Percent: true}, Others: 0.25, Memory: 0.5, DiskWrite: 50 << 20, Network: 8 << 20},
		Disk:  Unlimited, FreeMemory: 0.1,
		Idle: 5 * time.Minute, IdleLocked: time.Minute, Resume: 5 * time.Minute, GiveBack: 10 * time.Minute,
		MinCharge: 0.5, MaxTemperature: 90,
	}
}

// percent reads 25% as 25.
func percent(text string) (int, bool) {
	digits, found := strings.CutSuffix(text, "%")
	n, err := strconv.ParseUint(digits, 10, 8)
	return int(n), found && err == nil && n <= 100
}

func readAmount(r *yamlfile.Reader, f yamlfile.Field) (Amount, bool) {
	text, ok := r.Text(f)
	if !ok {
		return Amount{}, false
	}
	if n, ok := percent(text); ok {
		return Amount{N: n, Percent: true}, true
	}
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return Amount{N: int(n)}, true
	}
	r.Wrong(f, "is "+yamlfile.Describe(f.Node)+", expected a number of cores or a share of all such as 50%", "")
	return Amount{}, false
}

func share(most int) func(*yamlfile.Reader, yamlfile.Field) (float64, bool) {
	return func(r *yamlfile.Reader, f yamlfile.Field) (float64, bool) {
		text, ok := r.Text(f)
		if !ok {
			return 0, false
		}
		n, ok := percent(text)
		if !ok || n > most {
			r.Wrong(f, fmt.Sprintf("is %s, expected a share from 0%% to %d%%", yamlfile.Describe(f.Node), most), "")
			return 0, false
		}
		return float64(n) / 100, true
	}
}

func showShare(s float64) string { return fmt.Sprintf("%.0f%%", s*100) }

// units are the suffixes of sizes and what one is in bytes.
var units = map[string]int64{"KiB/s": 1 << 10, "MiB/s": 1 << 20, "GiB": 1 << 30}

const unlimited = "unlimited"

func rate(suffix string) func(*yamlfile.Reader, yamlfile.Field) (int64, bool) {
	return func(r *yamlfile.Reader, f yamlfile.Field) (int64, bool) {
		text, ok := r.Text(f)
		if !ok {
			return 0, false
		}
		if text == unlimited {
			return Unlimited, true
		}
		digits, found := strings.CutSuffix(text, suffix)
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if !found || err != nil || n < 0 || n > maxBytes/units[suffix] {
			r.Wrong(f, fmt.Sprintf("is %s, expected a whole number of %s, or %s", yamlfile.Describe(f.Node), suffix, unlimited),
				"write it like 20"+suffix)
			return 0, false
		}
		return n * units[suffix], true
	}
}

func showRate(suffix string) func(int64) string {
	return func(n int64) string {
		if n == Unlimited {
			return unlimited
		}
		return fmt.Sprintf("%d%s", n/units[suffix], suffix)
	}
}

func duration(least time.Duration) func(*yamlfile.Reader, yamlfile.Field) (time.Duration, bool) {
	return func(r *yamlfile.Reader, f yamlfile.Field) (time.Duration, bool) {
		text, ok := r.Text(f)
		if !ok {
			return 0, false
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < least || d > maxWait {
			r.Wrong(f, fmt.Sprintf("is %s, expected a duration from %s to 24h", yamlfile.Describe(f.Node), showDuration(least)), "write it like 5m or 90s")
			return 0, false
		}
		return d, true
	}
}

// showDuration writes 5m for what String writes as 5m0s.
func showDuration(d time.Duration) string {
	s := d.String()
	if d >= time.Minute {
		s = strings.TrimSuffix(s, "0s")
		if !strings.HasSuffix(s, "m") && !strings.HasSuffix(s, "h") {
			return d.String()
		}
	}
	if d >= time.Hour && strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func degrees(r *yamlfile.Reader, f yamlfile.Field) (float64, bool) {
	text, ok := r.Text(f)
	if !ok {
		return 0, false
	}
	if text == unlimited {
		return 0, true
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 30 || n > 120 {
		r.Wrong(f, "is "+yamlfile.Describe(f.Node)+", expected °C from 30 to 120, or "+unlimited, "")
		return 0, false
	}
	return n, true
}

func showDegrees(n float64) string {
	if n == 0 {
		return unlimited
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

// texts reads a list of texts; wrong says what is wrong with one.
func texts(wrong func(string) string) func(*yamlfile.Reader, yamlfile.Field) ([]string, bool) {
	return func(r *yamlfile.Reader, f yamlfile.Field) ([]string, bool) {
		items, ok := r.List(f)
		if len(items) > maxList {
			r.Wrong(f, fmt.Sprintf("has %d items, expected at most %d", len(items), maxList), "")
			return nil, false
		}
		var out []string
		for _, item := range items {
			text, good := r.Text(item)
			ok = ok && good
			if !good {
				continue
			}
			if says := wrong(text); says != "" || len(text) > maxItem {
				if says == "" {
					says = fmt.Sprintf("expected at most %d bytes", maxItem)
				}
				r.Wrong(item, fmt.Sprintf("is %q, %s", yamlfile.Clip(text), says), "")
				ok = false
			}
			out = append(out, text)
		}
		return out, ok
	}
}

func noProgram(s string) string {
	// A program is found by the name of its file; one that would name this agent stops it for ever.
	if s == "" || strings.ContainsAny(s, `/\`) || strings.Contains(strings.ToLower(s), "gridagent") {
		return "expected the name of a program other than gridagent, without its folder"
	}
	return ""
}

func noSubmitter(s string) string {
	if len(s) < minID || len(s) > 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Sprintf("expected the first %d or more hex digits of a submitter's key ID", minID)
	}
	return ""
}

func noPattern(s string) string {
	if _, err := path.Match(s, ""); err != nil || s == "" {
		return "expected a job's name; * ? and [a-z] stand for any"
	}
	return ""
}

func showList(items []string) string {
	var quoted []string
	for _, s := range items {
		quoted = append(quoted, strconv.Quote(s))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
