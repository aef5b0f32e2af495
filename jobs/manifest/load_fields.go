package manifest

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/yamlfile"
)

func (l *loader) name(f yamlfile.Field) string {
	if !f.Present() {
		l.missing("name", "write name: my-job")
		return ""
	}
	name, ok := l.Text(f)
	if ok && !validName(name) {
		l.Wrong(f, fmt.Sprintf("is %q, expected %s", yamlfile.Clip(name), nameRule), "")
	}
	return name
}

func (l *loader) args(f yamlfile.Field) []string {
	if !f.Present() {
		return nil
	}
	items, _ := l.List(f)
	var args []string
	for _, item := range items {
		arg, ok := l.Text(item)
		if ok {
			l.template(item, arg)
		}
		args = append(args, arg)
	}
	return args
}

func (l *loader) env(f yamlfile.Field) []EnvVar {
	if !f.Present() {
		return nil
	}
	entries, _ := l.Entries(f)
	var env []EnvVar
	for _, e := range entries {
		if !validEnvName(e.Key) {
			l.Wrong(e.Field, "is no name of a variable, expected text without = and NUL", "")
		}
		value, ok := l.Text(e.Field)
		if ok {
			l.template(e.Field, value)
		}
		env = append(env, EnvVar{Name: e.Key, Value: value})
	}
	slices.SortFunc(env, func(a, b EnvVar) int { return strings.Compare(a.Name, b.Name) })
	return env
}

// template checks the variables in a text.
func (l *loader) template(f yamlfile.Field, text string) {
	if _, err := expand(text, 0); err != nil {
		hint := "did you mean ${unit}? It is the only variable; write $${ for ${ itself"
		l.Wrong(f, err.Error(), hint)
	}
}

func (l *loader) units(f yamlfile.Field) uint64 {
	const hint = "write units: {count: 100}"
	if !f.Present() {
		l.missing("units", hint)
		return 0
	}
	if _, ok := yamlfile.PlainScalar(f.Node); ok {
		l.Wrong(f, "is "+yamlfile.Describe(f.Node)+", expected a map with count", "write units: {count: "+yamlfile.Describe(f.Node)+"}")
		return 0
	}
	values, ok := l.Fields(f, []string{"count"})
	if !ok {
		return 0
	}
	count := values["count"]
	if !count.Present() {
		p := yamlfile.At(f.Node, "missing")
		p.Field, p.Hint = "units.count", hint
		l.Add(p)
		return 0
	}
	n := l.Number(count, 1, MaxUnits)
	return n
}

// bundle is by default 1, or what makes the job one shard.
func (l *loader) bundle(f yamlfile.Field, units uint64) uint32 {
	if !f.Present() {
		return uint32(min(max(1, ceilDiv(units, ShardBundles)), MaxBundle))
	}
	n := l.Number(f, 1, MaxBundle)
	return uint32(n)
}

func (l *loader) optionalNumber(f yamlfile.Field, otherwise, lo, hi uint64) uint64 {
	if !f.Present() {
		return otherwise
	}
	n := l.Number(f, lo, hi)
	return n
}

func (l *loader) successCodes(f yamlfile.Field) []uint32 {
	if !f.Present() {
		return []uint32{0}
	}
	items, ok := l.List(f)
	if n := len(items); ok && (n < 1 || n > MaxSuccessCodes) {
		l.Wrong(f, fmt.Sprintf("has %d exit codes, expected 1 to %d", n, MaxSuccessCodes), "")
	}
	var codes []uint32
	for _, item := range items {
		code := l.Number(item, 0, math.MaxUint32)
		codes = append(codes, uint32(code))
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func (l *loader) memory(f yamlfile.Field) uint64 {
	const standard = 256 << 20
	if !f.Present() {
		return standard
	}
	text, ok := l.Text(f)
	if !ok {
		return 0
	}
	units := []struct {
		suffix string
		bytes  uint64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}
	for _, u := range units {
		digits, found := strings.CutSuffix(text, u.suffix)
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32)
		if !found || err != nil {
			continue
		}
		size := n * u.bytes
		if size < page || size > MaxMemory || size%page != 0 {
			l.Wrong(f, fmt.Sprintf("is %s, expected 64KiB to 4GiB in steps of 64KiB", yamlfile.Clip(text)),
				"a WebAssembly module has pages of 64KiB and can address 4GiB")
		}
		return size
	}
	l.Wrong(f, "is "+yamlfile.Describe(f.Node)+", expected a size in KiB, MiB or GiB", "write memory: 256MiB")
	return 0
}

func (l *loader) timeout(f yamlfile.Field) time.Duration {
	if !f.Present() {
		return 10 * time.Minute
	}
	text, ok := l.Text(f)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Millisecond || d > MaxTimeout {
		l.Wrong(f, "is "+yamlfile.Describe(f.Node)+", expected a duration from 1ms to 24h", "write timeout: 10m")
	}
	return d.Truncate(time.Millisecond)
}

// checkpoint is 0 for the default, however that is written.
func (l *loader) checkpoint(f yamlfile.Field) time.Duration {
	if !f.Present() {
		return 0
	}
	text, ok := l.Text(f)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	switch d = d.Truncate(time.Millisecond); {
	case err != nil || d != 0 && d < MinCheckpoint || d > MaxCheckpoint:
		l.Wrong(f, "is "+yamlfile.Describe(f.Node)+", expected a duration from 1s to 24h, or 0 for no checkpoints", "write checkpoint: 2m")
		return 0
	case d == 0:
		return NoCheckpoint
	case d == DefaultCheckpoint:
		return 0
	}
	return d
}

func (l *loader) keep(f yamlfile.Field) time.Duration {
	const day = 24 * time.Hour
	if !f.Present() {
		return 14 * day
	}
	text, ok := l.Text(f)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	if days, found := strings.CutSuffix(text, "d"); found {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * day
	}
	if err != nil || d < minKeep || d > MaxKeep {
		l.Wrong(f, "is "+yamlfile.Describe(f.Node)+", expected days or a duration from 1m to 30d", "write keep: 14d")
	}
	return d.Truncate(time.Second)
}

func (l *loader) combine(f yamlfile.Field) {
	if !f.Present() {
		return
	}
	values, ok := l.Fields(f, []string{"program", "args"})
	if !ok {
		return
	}
	c := &Combine{}
	if args := values["args"]; args.Present() {
		items, _ := l.List(args)
		for _, item := range items {
			arg, _ := l.Text(item)
			if strings.Contains(arg, "${unit}") {
				l.Wrong(item, "has ${unit}, but combine runs once and has no unit", "the units' results are at /in")
			}
			c.Args = append(c.Args, arg)
		}
	}
	l.spec.Job.Combine = c
	l.spec.CombineProgram = l.spec.Program
	if program := values["program"]; program.Present() {
		l.spec.CombineProgram = l.program(program)
	}
}

// size reports a manifest that is too large, at its largest field. Blobs and times are not known yet and
// count as the largest that they can be.
func (l *loader) size(fields map[string]yamlfile.Field) {
	m := l.spec.Job
	largest := jobs.Blob{Digest: jobs.DigestOf(nil), Size: MaxBlob}
	m.Program, m.Stdin, m.Inputs = largest, largest, largest
	if m.Combine != nil {
		m.Combine = &Combine{Program: largest, Args: m.Combine.Args}
	}
	size, blame, most := m.sizes()
	if f := fields[blame]; f.Present() && size > MaxSize {
		l.Wrong(f, fmt.Sprintf("takes %d bytes of a manifest of %d, expected at most %d in all", most, size, MaxSize),
			"put it into an input file and read that from /in")
	}
}
