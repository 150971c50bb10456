package ledger;

import java.io.IOException;
import java.io.Writer;
import java.util.List;
import java.util.Locale;

/** What is sent to the owner of an account at the end of a month. */
final class Statement {
    private final String account;
    private final List<Ledger.Entry> entries;

    Statement(String account, List<Ledger.Entry> entries) {
        this.account = account;
        this.entries = entries.stream().filter(this::concerns).toList();
    }

    private boolean concerns(Ledger.Entry entry) {
        return entry.from().equals(account) || entry.to().equals(account);
    }

    /** A comma-separated file; a field with a comma or a quote in it is quoted. */
    void writeCsv(Writer out) throws IOException {
        for (Ledger.Entry entry : entries) {
            String sign = entry.to().equals(account) ? "" : "-";
            out.write(field(entry.memo()) + "," + sign + entry.amount() + "\n");
        }
    }

    private static String field(String text) {
        if (text.indexOf(',') < 0 && text.indexOf('"') < 0 && text.indexOf('\n') < 0) {
            return text;
        }
        return '"' + text.replace("\"", "\"\"") + '"';
    }

    /** The account number with all but its last four digits hidden. */
    String masked() {
        int kept = Math.min(4, account.length());
        return "*".repeat(account.length() - kept) + account.substring(account.length() - kept).toUpperCase(Locale.ROOT);
    }
}
