package repository

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestATrialLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := TryWrite(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if err := TryWrite(filepath.Join(dir, "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: got %v", err)
	}
}

func TestAPointThatWasForgottenMeanwhileIsNotDamaged(t *testing.T) {
	o, _, _ := directWorld(t)
	for name, open := range map[string]func() (*pointTree, error){
		"before it was found": func() (*pointTree, error) { return o.openPoint(t.Context(), "01H00000000000000000000000") },
		"after":               func() (*pointTree, error) { return o.openTree(t.Context(), "0123456789abcdef0123456789abcdef") },
	} {
		if _, err := open(); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got %v, want %v", name, err, ErrNotFound)
		}
	}
}
