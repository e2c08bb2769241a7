package app

import (
	"errors"
	"testing"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestOutcomeTellsWhatFailedFromWhatIsNotWhole(t *testing.T) {
	point := func(state restorepoint.State) BackupResult {
		return BackupResult{Point: &restorepoint.Point{State: state}}
	}
	failed := BackupResult{Err: errors.New("no room")}
	for _, test := range []struct {
		name              string
		results           []BackupResult
		partial, notWhole bool
		failed            bool
	}{
		{"all went well", []BackupResult{point(restorepoint.Complete)}, false, false, false},
		{"all failed", []BackupResult{failed, failed}, false, false, true},
		{"one failed", []BackupResult{failed, point(restorepoint.Complete)}, true, false, true},
		{"one is not whole", []BackupResult{point(restorepoint.Partial), point(restorepoint.Complete)}, true, true, false},
		{"one failed, one is not whole", []BackupResult{failed, point(restorepoint.Partial)}, true, true, true},
	} {
		err := outcome(t.Context(), test.results)
		if errors.Is(err, ErrPartial) != test.partial || errors.Is(err, ErrPointPartial) != test.notWhole || errors.Is(err, failed.Err) != test.failed {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
