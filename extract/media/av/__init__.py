"""Video and audio by timestamp: media files that FFmpeg decodes, and waveforms in HDF5."""
