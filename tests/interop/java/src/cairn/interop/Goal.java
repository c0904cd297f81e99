package cairn.interop;

import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;

/** Marks a test, and says what a user would lose if it failed. */
@Retention(RetentionPolicy.RUNTIME)
@interface Goal {
    String value();
}
