package program

import (
	"fmt"
	"time"
)

// browseWait is how long an opener may take to say that it cannot. One that is the browser itself goes on.
const browseWait = 3 * time.Second

// Browse opens an address in the user's browser. An error says that there is none here.
func Browse(url string) error {
	cmd, err := opener(url)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("%s: %w", cmd.Path, err)
		}
	case <-time.After(browseWait):
	}
	return nil
}
