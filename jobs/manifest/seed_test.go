package manifest_test

import (
	"testing"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// TestIdentity changes a manifest in ways that leave the outcomes of its units alone, and in others.
func TestIdentity(t *testing.T) {
	tests := map[string]struct {
		change func(*manifest.Manifest)
		same   bool
	}{
		"nothing":    {func(*manifest.Manifest) {}, true},
		"name":       {func(m *manifest.Manifest) { m.Name = "other" }, true},
		"submitter":  {func(m *manifest.Manifest) { m.Submitter = jobs.KeyID{9} }, true},
		"nobody":     {func(m *manifest.Manifest) { m.Submitter = jobs.KeyID{} }, true},
		"units":      {func(m *manifest.Manifest) { m.Units++ }, true},
		"timeout":    {func(m *manifest.Manifest) { m.Timeout += time.Second }, true},
		"checkpoint": {func(m *manifest.Manifest) { m.Checkpoint = time.Hour }, true},
		"created":    {func(m *manifest.Manifest) { m.Created = m.Created.Add(time.Hour) }, true},
		"program":    {func(m *manifest.Manifest) { m.Program = blob("another program") }, false},
		"args":       {func(m *manifest.Manifest) { m.Args = append(m.Args, "more") }, false},
		"inputs":     {func(m *manifest.Manifest) { m.Inputs = blob("another list") }, false},
	}
	want, err := fixed().Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := fixed()
			test.change(m)
			got, err := m.Identity()
			if err != nil {
				t.Fatal(err)
			}
			if (got == want) != test.same {
				t.Errorf("the same identity: %t, expected %t", got == want, test.same)
			}
		})
	}
	if manifest.Seed(want, 1) == manifest.Seed(want, 2) {
		t.Error("two units have the same seed")
	}
}
