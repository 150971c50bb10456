package example;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

public final class Reader {
    private final Path path;

    public Reader(Path path) {
        this.path = path;
    }

    /** The lines that say something. */
    public List<String> lines() {
        try {
            return Files.readAllLines(path).stream()
                    .map(String::strip)
                    .filter(line -> !line.isEmpty())
                    .toList();
        } catch (IOException error) {
            throw new IllegalStateException("cannot read " + path, error);
        } finally {
            System.err.println("read");
        }
    }
}
