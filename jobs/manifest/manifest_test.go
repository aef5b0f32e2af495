package manifest_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

// fixed returns a manifest with every field set; each call a new one.
func fixed() *manifest.Manifest {
	created := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &manifest.Manifest{
		Name:         "tour",
		Submitter:    jobs.KeyID(jobs.DigestOf([]byte("submitter"))),
		Runtime:      manifest.RuntimeWasm,
		Program:      blob("program"),
		Args:         []string{"solve", "--seed", "${unit}"},
		Env:          []manifest.EnvVar{{Name: "LANG", Value: "C"}, {Name: "SEED", Value: "x${unit}"}},
		Stdin:        blob("stdin"),
		Inputs:       blob("inputs"),
		Units:        200,
		Bundle:       3,
		Quorum:       1,
		Memory:       256 << 20,
		Timeout:      10 * time.Minute,
		Retries:      2,
		SuccessCodes: []uint32{0, 3},
		Combine:      &manifest.Combine{Program: blob("combine"), Args: []string{"combine"}},
		Created:      created,
		Expires:      created.Add(14 * 24 * time.Hour),
		MinVersion:   1,
	}
}

func blob(content string) jobs.Blob {
	return jobs.Blob{Digest: jobs.DigestOf([]byte(content)), Size: int64(len(content))}
}

// TestVector notices every change of the format. A change makes all live jobs unreadable to one side: it
// needs a new MinVersion, not a new vector.
func TestVector(t *testing.T) {
	b, err := fixed().Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = "de0adb83b899887344e8de5efecac6bd13df612feaa51c5a41f55812e59508ec"
	if got := jobs.JobID(jobs.DigestOf(b)).String(); got != want {
		t.Errorf("job ID %s, want %s", got, want)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawManifest(t)
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := manifest.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(m, back) {
			t.Fatalf("encoded %+v, decoded %+v", m, back)
		}
		again, err := back.Encode()
		if err != nil || string(again) != string(b) {
			t.Fatalf("encoding again gives other bytes, error %v", err)
		}
	})
}

func drawManifest(t *rapid.T) *manifest.Manifest {
	word := rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,20}`)
	text := rapid.Custom(func(t *rapid.T) string {
		return strings.ReplaceAll(strings.ToValidUTF8(rapid.String().Draw(t, "text"), "?"), "\x00", "?")
	})
	texts := rapid.Custom(func(t *rapid.T) []string {
		list := rapid.SliceOfN(text, 0, 5).Draw(t, "texts")
		if len(list) == 0 {
			return nil
		}
		return list
	})
	anyBlob := rapid.Custom(func(t *rapid.T) jobs.Blob {
		return jobs.Blob{
			Digest: jobs.DigestOf([]byte(word.Draw(t, "content"))),
			Size:   rapid.Int64Range(0, manifest.MaxInputList).Draw(t, "size"),
		}
	})
	m := fixed()
	m.Name, m.Runtime = word.Draw(t, "name"), word.Draw(t, "runtime")
	m.Program, m.Args, m.Env = anyBlob.Draw(t, "program"), texts.Draw(t, "args"), nil
	if rapid.Bool().Draw(t, "bare") {
		m.Stdin, m.Inputs, m.Combine = jobs.Blob{}, jobs.Blob{}, nil
	} else {
		m.Combine = &manifest.Combine{Program: anyBlob.Draw(t, "combine"), Args: texts.Draw(t, "combine args")}
		m.Env = []manifest.EnvVar{{Name: "A", Value: text.Draw(t, "value")}, {Name: "B"}}
	}
	m.Units = rapid.Uint64Range(1, manifest.MaxUnits).Draw(t, "units")
	m.Bundle = rapid.Uint32Range(1, manifest.MaxBundle).Draw(t, "bundle")
	m.Quorum = rapid.Uint32Range(1, manifest.MaxQuorum).Draw(t, "quorum")
	m.Memory = rapid.Uint64Range(1, 65536).Draw(t, "pages") << 16
	m.Timeout = time.Duration(rapid.Int64Range(1, 86_400_000).Draw(t, "timeout")) * time.Millisecond
	m.Checkpoint = rapid.SampledFrom([]time.Duration{
		0, manifest.NoCheckpoint, manifest.MinCheckpoint, 90 * time.Second, manifest.MaxCheckpoint,
	}).Draw(t, "checkpoint")
	m.Retries = rapid.Uint32Range(0, manifest.MaxRetries).Draw(t, "retries")
	m.Created = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "created"), 0).UTC()
	m.Expires = m.Created.Add(time.Duration(rapid.Int64Range(1, 2_592_000).Draw(t, "keep")) * time.Second)
	m.MinVersion = rapid.Uint32().Draw(t, "version")
	return m
}

// TestBounds breaks one rule at a time. Encode must refuse it, and so must Decode when someone else
// encoded it.
func TestBounds(t *testing.T) {
	tests := []struct {
		want  string
		wreck func(*gridv1.Manifest)
	}{
		{"name", func(p *gridv1.Manifest) { p.Name = "" }},
		{"name", func(p *gridv1.Manifest) { p.Name = "-rf" }},
		{"name", func(p *gridv1.Manifest) { p.Name = "a/b" }},
		{"name", func(p *gridv1.Manifest) { p.Name = strings.Repeat("x", manifest.MaxName+1) }},
		{"submitter", func(p *gridv1.Manifest) { p.Submitter = nil }},
		{"submitter", func(p *gridv1.Manifest) { p.Submitter = make([]byte, 32) }},
		{"runtime", func(p *gridv1.Manifest) { p.Runtime = "" }},
		{"features", func(p *gridv1.Manifest) { p.Features = []string{"a b"} }},
		{"args", func(p *gridv1.Manifest) { p.Args = []string{"a\x00b"} }},
		{"combine.args", func(p *gridv1.Manifest) { p.Combine.Args = []string{"\x00"} }},
		{"combine.program", func(p *gridv1.Manifest) { p.Combine.Program = nil }},
		{"env", func(p *gridv1.Manifest) { p.Env[0].Name = "" }},
		{"env", func(p *gridv1.Manifest) { p.Env[0].Name = "A=B" }},
		{"env", func(p *gridv1.Manifest) { p.Env[0].Name = p.Env[1].Name }},
		{"env", func(p *gridv1.Manifest) { p.Env[0], p.Env[1] = p.Env[1], p.Env[0] }},
		{"program", func(p *gridv1.Manifest) { p.Program = nil }},
		{"program", func(p *gridv1.Manifest) { p.Program.Size = manifest.MaxProgram + 1 }},
		{"program", func(p *gridv1.Manifest) { p.Program.Size = -1 }},
		{"program", func(p *gridv1.Manifest) { p.Program.Digest = p.Program.Digest[:31] }},
		{"stdin", func(p *gridv1.Manifest) { p.Stdin = &gridv1.Blob{Digest: make([]byte, 32)} }},
		{"stdin", func(p *gridv1.Manifest) { p.Stdin.Size = manifest.MaxBlob + 1 }},
		{"inputs", func(p *gridv1.Manifest) { p.Inputs.Size = manifest.MaxInputList + 1 }},
		{"units", func(p *gridv1.Manifest) { p.Units = 0 }},
		{"units", func(p *gridv1.Manifest) { p.Units = manifest.MaxUnits + 1 }},
		{"bundle", func(p *gridv1.Manifest) { p.Bundle = 0 }},
		{"bundle", func(p *gridv1.Manifest) { p.Bundle = manifest.MaxBundle + 1 }},
		{"quorum", func(p *gridv1.Manifest) { p.Quorum = 0 }},
		{"quorum", func(p *gridv1.Manifest) { p.Quorum = manifest.MaxQuorum + 1 }},
		{"memory", func(p *gridv1.Manifest) { p.MemoryBytes = 0 }},
		{"memory", func(p *gridv1.Manifest) { p.MemoryBytes++ }},
		{"memory", func(p *gridv1.Manifest) { p.MemoryBytes = manifest.MaxMemory + 65536 }},
		{"timeout", func(p *gridv1.Manifest) { p.TimeoutMs = 0 }},
		{"timeout", func(p *gridv1.Manifest) { p.TimeoutMs = 86_400_001 }},
		{"timeout", func(p *gridv1.Manifest) { p.TimeoutMs = 1 << 62 }},
		{"checkpoint", func(p *gridv1.Manifest) { p.CheckpointMs = 999 }},
		{"checkpoint", func(p *gridv1.Manifest) { p.CheckpointMs = -2 }},
		{"checkpoint", func(p *gridv1.Manifest) { p.CheckpointMs = 120_000 }}, // the default in another form
		{"checkpoint", func(p *gridv1.Manifest) { p.CheckpointMs = 86_400_001 }},
		{"checkpoint", func(p *gridv1.Manifest) { p.CheckpointMs = 1 << 62 }},
		{"checkpoint", func(p *gridv1.Manifest) { p.CheckpointMs = -1 << 62 }},
		{"retries", func(p *gridv1.Manifest) { p.Retries = manifest.MaxRetries + 1 }},
		{"success_codes", func(p *gridv1.Manifest) { p.SuccessCodes = nil }},
		{"success_codes", func(p *gridv1.Manifest) { p.SuccessCodes = []uint32{1, 1} }},
		{"success_codes", func(p *gridv1.Manifest) { p.SuccessCodes = []uint32{1, 0} }},
		{"created", func(p *gridv1.Manifest) { p.Created = -1 }},
		{"created", func(p *gridv1.Manifest) { p.Expires = 1 << 62; p.Created = p.Expires - 1 }},
		{"expires", func(p *gridv1.Manifest) { p.Expires = p.Created }},
		{"expires", func(p *gridv1.Manifest) { p.Expires = p.Created + 30*86400 + 1 }},
		{"expires", func(p *gridv1.Manifest) { p.Created = -1 << 62 }},
		{"bytes", func(p *gridv1.Manifest) { p.Args = []string{strings.Repeat("x", manifest.MaxSize)} }},
	}
	for _, test := range tests {
		p := protoOf(t, fixed())
		test.wreck(p)
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		m, err := manifest.Decode(b)
		if err == nil || m != nil || jobs.KindOf(err) != jobs.Invalid || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Decode returned %v, %v", test.want, m, err)
		}
	}
}

func protoOf(t *testing.T, m *manifest.Manifest) *gridv1.Manifest {
	t.Helper()
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var p gridv1.Manifest
	if err := proto.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	tests := map[string]func(*manifest.Manifest){
		"timeout in microseconds": func(m *manifest.Manifest) { m.Timeout += time.Microsecond },
		"half a second":           func(m *manifest.Manifest) { m.Created = m.Created.Add(time.Second / 2) },
		"invalid UTF-8":           func(m *manifest.Manifest) { m.Args = []string{"\xff"} },
		"no units":                func(m *manifest.Manifest) { m.Units = 0 },
		"too large":               func(m *manifest.Manifest) { m.Args = []string{strings.Repeat("x", manifest.MaxSize)} },
	}
	for name, wreck := range tests {
		m := fixed()
		wreck(m)
		if b, err := m.Encode(); err == nil || b != nil || jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%s: Encode returned %d bytes, %v", name, len(b), err)
		}
	}
}

// TestSizeBoundary stands on both sides of 16 KiB.
func TestSizeBoundary(t *testing.T) {
	m := fixed()
	m.Args = []string{strings.Repeat("x", 1000)}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.Args[0] = strings.Repeat("x", 1000+manifest.MaxSize-len(b))
	if b, err = m.Encode(); err != nil || len(b) != manifest.MaxSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if _, err := manifest.Decode(b); err != nil {
		t.Error(err)
	}
	m.Args[0] += "x"
	if _, err := m.Encode(); err == nil {
		t.Error("one byte more was encoded")
	}
}

func TestDecodePassesOverLaterFields(t *testing.T) {
	b, err := fixed().Encode()
	if err != nil {
		t.Fatal(err)
	}
	later := append(slices.Clone(b), 0xfa, 0x3f, 3, 'n', 'e', 'w') // field 1023
	m, err := manifest.Decode(later)
	if err != nil || !reflect.DeepEqual(m, fixed()) {
		t.Errorf("decoded %+v, %v", m, err)
	}
}

func TestSupported(t *testing.T) {
	if err := fixed().Supported(); err != nil {
		t.Error(err)
	}
	tests := map[string]func(*manifest.Manifest){
		"version 2":    func(m *manifest.Manifest) { m.MinVersion = manifest.Version + 1 },
		`"native"`:     func(m *manifest.Manifest) { m.Runtime = "native" },
		"outcomes":     func(m *manifest.Manifest) { m.Quorum = 2 },
		`"checkpoint"`: func(m *manifest.Manifest) { m.Features = []string{"checkpoint"} },
		"${host}":      func(m *manifest.Manifest) { m.Args = []string{"${host}"} },
		"${port}":      func(m *manifest.Manifest) { m.Env[0].Value = "${port}" },
	}
	for want, change := range tests {
		m := fixed()
		change(m)
		if _, err := m.Encode(); err != nil {
			t.Errorf("%s is not valid: %v", want, err)
		}
		err := m.Supported()
		if jobs.KindOf(err) != jobs.Unsupported || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestBlobs(t *testing.T) {
	m := fixed()
	want := []jobs.Blob{m.Program, m.Stdin, m.Inputs, m.Combine.Program}
	if got := m.Blobs(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	m.Stdin, m.Inputs, m.Combine.Program = jobs.Blob{}, jobs.Blob{}, m.Program
	if got := m.Blobs(); !reflect.DeepEqual(got, []jobs.Blob{m.Program}) {
		t.Errorf("got %v", got)
	}
}

func TestSucceeded(t *testing.T) {
	m := fixed()
	for code, want := range map[uint32]bool{0: true, 1: false, 3: true} {
		if got := m.Succeeded(code); got != want {
			t.Errorf("code %d: %v", code, got)
		}
	}
}
