package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

// Row is what units.json says of a unit.
type Row struct {
	Unit   uint64
	Status ledger.Status
	Reason string      // why it failed; may be empty
	Digest jobs.Digest // of its outcome; zero where its folder has none
}

// MarshalJSON writes a row as units.json has it.
func (r Row) MarshalJSON() ([]byte, error) {
	digest := ""
	if !r.Digest.IsZero() {
		digest = r.Digest.String()
	}
	return json.Marshal(struct {
		Unit   uint64 `json:"unit"`
		Status string `json:"status"`
		Reason string `json:"reason"`
		Digest string `json:"digest"`
	}{r.Unit, r.Status.String(), r.Reason, digest})
}

// Note sets the row of one of the job's units. Put does it for what it writes; Note is for units whose folder
// is there already, or that have none. A unit without either is open.
func (f *Folder) Note(row Row) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows[row.Unit] = row
}

// Rows returns the rows of all units.
func (f *Folder) Rows() []Row {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.rows)
}

// Save writes units.json. Call it before Combine, and however the work ended.
func (f *Folder) Save() error {
	var text bytes.Buffer
	for i, row := range f.Rows() {
		line, err := row.MarshalJSON()
		if err != nil {
			return fmt.Errorf("encode %s: %w", indexFile, err)
		}
		text.WriteString([]string{"[\n", ",\n"}[min(i, 1)])
		text.Write(line)
	}
	text.WriteString("\n]\n")
	return durable.WriteFile(f.root, indexFile, text.Bytes(), filePerm&^0o022)
}
