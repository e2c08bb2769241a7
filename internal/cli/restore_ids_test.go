package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
)

func TestIdsThatCannotBeWrittenAreRefusedBefore(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		files idFiles
		want  string
	}{
		{idFiles{ids: filepath.Join(dir, "none", "ids.json")}, "--id-map"},
		{idFiles{terraform: filepath.Join(dir, "none", "imports.tf")}, "--terraform"},
		{idFiles{ids: dir}, "is a folder"},
		{idFiles{ids: filepath.Join(dir, "ids.json"), terraform: filepath.Join(dir, "imports.tf")}, ""},
		{idFiles{}, ""},
	} {
		err := tc.files.check(app.RestoreRequest{})
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%+v: got %v, want %q", tc.files, err, tc.want)
		}
	}
}
