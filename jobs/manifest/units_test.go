package manifest_test

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"idlegrid/jobs/manifest"
)

func TestCommand(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", ""},
		{"plain", "plain"},
		{"${unit}", "17"},
		{"a${unit}b${unit}", "a17b17"},
		{"$${unit}", "${unit}"},
		{"$$${unit}", "$${unit}"},
		{"$${${unit}}", "${17}"},
		{"cost $5, $unit, $$", "cost $5, $unit, $$"},
		{"${host}", "${host}"}, // of a later version: Supported refuses it
		{"${unit", "${unit"},
	}
	for _, test := range tests {
		m := manifest.Manifest{Args: []string{test.text}, Env: []manifest.EnvVar{{Name: "V", Value: test.text}}}
		args, env := m.Command(17)
		if !reflect.DeepEqual(args, []string{test.want}) || env[0] != (manifest.EnvVar{Name: "V", Value: test.want}) {
			t.Errorf("%q: args %q, env %q, want %q", test.text, args, env, test.want)
		}
		if m.Args[0] != test.text {
			t.Errorf("%q: Command changed the manifest", test.text)
		}
	}
}

func TestUnitsOfASmallJob(t *testing.T) {
	m := manifest.Manifest{Units: 10, Bundle: 4}
	if m.Bundles() != 3 || m.Shards() != 1 || m.BundleOf(9) != 2 {
		t.Errorf("%d bundles, %d shards, unit 9 in bundle %d", m.Bundles(), m.Shards(), m.BundleOf(9))
	}
	if first, n := m.BundleUnits(2); first != 8 || n != 2 {
		t.Errorf("bundle 2 has %d units from %d", n, first)
	}
	for _, beyond := range []uint64{3, math.MaxUint64} {
		if _, n := m.BundleUnits(beyond); n != 0 {
			t.Errorf("bundle %d has %d units", beyond, n)
		}
	}
	for _, beyond := range []uint32{1, math.MaxUint32} {
		if _, n := m.ShardRange(beyond); n != 0 {
			t.Errorf("shard %d has %d bundles", beyond, n)
		}
	}
}

// TestUnitsArePartitioned checks that bundles and shards follow each other without gap or overlap.
func TestUnitsArePartitioned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := manifest.Manifest{
			Units:  rapid.Uint64Range(1, manifest.MaxUnits).Draw(t, "units"),
			Bundle: rapid.Uint32Range(1, manifest.MaxBundle).Draw(t, "bundle"),
		}
		unit := rapid.Uint64Range(0, m.Units-1).Draw(t, "unit")
		bundle := m.BundleOf(unit)
		if first, n := m.BundleUnits(bundle); unit < first || unit >= first+n {
			t.Fatalf("unit %d is in bundle %d, which has %d units from %d", unit, bundle, n, first)
		}
		shard := m.ShardOf(bundle)
		if first, n := m.ShardRange(shard); bundle < first || bundle >= first+n || n > manifest.ShardBundles {
			t.Fatalf("bundle %d is in shard %d, which has %d bundles from %d", bundle, shard, n, first)
		}
		if shard >= m.Shards() {
			t.Fatalf("shard %d of %d", shard, m.Shards())
		}
		var bundles uint64
		for s := range m.Shards() {
			first, n := m.ShardRange(s)
			if first != bundles {
				t.Fatalf("shard %d starts at bundle %d, the one before ends at %d", s, first, bundles)
			}
			bundles += n
		}
		first, n := m.BundleUnits(bundles - 1)
		if bundles != m.Bundles() || first+n != m.Units {
			t.Fatalf("%d bundles end at unit %d of %d", bundles, first+n, m.Units)
		}
	})
}
