package executor

import (
	"errors"
	"log/slog"
	"os"
	"testing"

	gridv1 "idlegrid/proto/grid/v1"
)

// TestSaver checks the bounds that the parent keeps by itself: no child sends these, unless a guest has broken out
// into it. Nothing is left in the folder.
func TestSaver(t *testing.T) {
	data := func(n int, whole, last bool) *gridv1.ExecutorCheckpoint {
		return &gridv1.ExecutorCheckpoint{Whole: whole, Last: last, Data: make([]byte, n)}
	}
	const bound = 1000
	tests := map[string]struct {
		asked  bool
		good   []*gridv1.ExecutorCheckpoint
		bad    *gridv1.ExecutorCheckpoint
		handed int
	}{
		"not asked":         {bad: data(1, true, true)},
		"refused unasked":   {bad: &gridv1.ExecutorCheckpoint{Refused: "x"}},
		"changes of what":   {asked: true, bad: data(1, false, true)},
		"too much at once":  {asked: true, bad: data(bound+1, true, true)},
		"too much together": {asked: true, good: []*gridv1.ExecutorCheckpoint{data(bound, true, false)}, bad: data(1, true, true)},
		"one too many":      {asked: true, good: []*gridv1.ExecutorCheckpoint{data(bound, true, true)}, bad: data(1, true, true), handed: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := &Unit{Folder: t.TempDir()}
			handed := 0
			u.Save = func(c Checkpoint) {
				handed++
				for _, f := range c.Files {
					if err := os.Remove(f.Path); err != nil {
						t.Error(err)
					}
				}
			}
			s := newSaver(u, &Program{Memory: 1 << 20}, slog.New(slog.DiscardHandler))
			s.most = bound
			s.asked.Store(tt.asked)
			for i, c := range tt.good {
				if err := s.take(c); err != nil {
					t.Fatalf("piece %d: %v", i, err)
				}
			}
			if err := s.take(tt.bad); !errors.Is(err, errProtocol) {
				t.Errorf("took it: %v", err)
			}
			s.close()
			if entries, err := os.ReadDir(u.Folder); err != nil || len(entries) > 0 || handed != tt.handed {
				t.Errorf("left %v, handed out %d, %v", entries, handed, err)
			}
		})
	}
}
