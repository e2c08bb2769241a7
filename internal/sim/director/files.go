package director

import (
	"path"
	"strings"
)

// HasFile tells whether a file of a datastore, by its path in it, holds an
// independent disk or an image that this installation lists, one that is being
// made among them. The files of its VMs are its vCenters' business.
func (s *Server) HasFile(file string) bool {
	folder, _, _ := strings.Cut(file, "/")
	if folder != mediaFolder && !strings.HasPrefix(folder, disksFolder) {
		return false
	}
	// Both are called by their ids, so that it is known before the file is.
	id := uuidIn(path.Base(file))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disks[id] != nil || s.media[id] != nil
}

// The folders of datastores where vCD keeps images and independent disks.
const (
	mediaFolder = "media"
	disksFolder = "vcd-disks-"
)
