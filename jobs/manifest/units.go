package manifest

import (
	"fmt"
	"strconv"
	"strings"

	"idlegrid/jobs/yamlfile"
)

// ShardBundles is the number of bundles in every shard of a job but its last, which may have fewer.
const ShardBundles = 16384

// Bundles returns how many bundles the job has; the last one may be short.
func (m *Manifest) Bundles() uint64 {
	return ceilDiv(m.Units, uint64(m.Bundle))
}

// Shards returns how many shards the job has.
func (m *Manifest) Shards() uint32 {
	return uint32(ceilDiv(m.Bundles(), ShardBundles))
}

// ShardOf returns the shard of one of the job's bundles.
func (m *Manifest) ShardOf(bundle uint64) uint32 {
	return uint32(bundle / ShardBundles)
}

// ShardRange returns the bundles of a shard; none when the job has no such shard.
func (m *Manifest) ShardRange(shard uint32) (firstBundle, nBundles uint64) {
	first := uint64(shard) * ShardBundles
	if first >= m.Bundles() {
		return 0, 0
	}
	return first, min(ShardBundles, m.Bundles()-first)
}

// BundleOf returns the bundle of one of the job's units.
func (m *Manifest) BundleOf(unit uint64) uint64 {
	return unit / uint64(m.Bundle)
}

// BundleUnits returns the units of a bundle; none when the job has no such bundle.
func (m *Manifest) BundleUnits(bundle uint64) (first, n uint64) {
	if bundle >= m.Bundles() {
		return 0, 0
	}
	first = bundle * uint64(m.Bundle)
	return first, min(uint64(m.Bundle), m.Units-first)
}

// Command returns the args and environment of one unit: ${unit} is replaced by the unit's number in
// decimal, and $${ by ${. A template that this version cannot read stays as it is; Supported refuses it.
func (m *Manifest) Command(unit uint64) (args []string, env []EnvVar) {
	for _, arg := range m.Args {
		args = append(args, expandOrKeep(arg, unit))
	}
	for _, v := range m.Env {
		env = append(env, EnvVar{Name: v.Name, Value: expandOrKeep(v.Value, unit)})
	}
	return args, env
}

// templates returns all texts in which ${unit} is replaced.
func (m *Manifest) templates() []string {
	texts := append([]string(nil), m.Args...)
	for _, v := range m.Env {
		texts = append(texts, v.Value)
	}
	return texts
}

func expandOrKeep(text string, unit uint64) string {
	expanded, err := expand(text, unit)
	if err != nil {
		return text
	}
	return expanded
}

// expand replaces the variables in text. Its error reads as the rest of a sentence about text.
func expand(text string, unit uint64) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		if !found {
			out.WriteString(text)
			return out.String(), nil
		}
		if literal, escaped := strings.CutSuffix(before, "$"); escaped {
			out.WriteString(literal + "${")
			text = after
			continue
		}
		name, rest, closed := strings.Cut(after, "}")
		if !closed {
			return "", fmt.Errorf("has a ${ without its }")
		}
		if name != "unit" {
			return "", fmt.Errorf("has the unknown variable ${%s}", yamlfile.Clip(name))
		}
		out.WriteString(before)
		out.WriteString(strconv.FormatUint(unit, 10))
		text = rest
	}
}

func ceilDiv(a, b uint64) uint64 {
	return a/b + min(a%b, 1)
}
